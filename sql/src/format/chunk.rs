//! A chunk of text: whole rows, or one that is too long to be held.

use std::fmt::Debug;
use std::ops::{ControlFlow, Range};

use super::rows::{Piece, Spot};

/// Whole rows of text.
#[derive(Debug, Default, Clone)]
pub(crate) struct Chunk {
    /// The text.
    pub(crate) bytes: Vec<u8>,
    /// Where its rows begin: after a header.
    pub(crate) start: usize,
    /// The number of the line at `start`, from 1.
    pub(crate) first_line: u64,
    /// How the rows stand in it.
    pub(crate) shape: Shape,
}

/// How rows stand in a chunk.
#[derive(Debug, Default, Clone)]
pub(crate) enum Shape {
    /// As lines.
    #[default]
    Lines,
    /// As values that may reach over several lines: where they are, and where each begins.
    Values(Vec<(Range<usize>, Spot)>),
    /// One row of more than `line_bytes_max`: its beginning, and which element it is.
    TooLong(Option<u64>),
    /// No row: what is wrong between the rows.
    Broken(&'static str),
}

/// Reads the rows of chunks. Chunks are independent of each other, so that several
/// are parsed at the same time.
pub(crate) trait ChunkParser: Debug + Send + Sync {
    /// Gives the rows of a chunk, in order and in pieces of bounded size, to `out`,
    /// until it breaks.
    ///
    /// # Errors
    /// Never for what the text says: that is rejected row by row.
    fn parse(
        &self,
        chunk: &Chunk,
        out: &mut dyn FnMut(Piece) -> ControlFlow<()>,
    ) -> windrow_core::Result<()>;

    /// The name of the file that the chunks are of.
    fn file(&self) -> &str;

    /// The text of the row of a chunk that begins with byte `start`.
    fn row<'a>(&self, chunk: &'a Chunk, start: usize) -> &'a [u8];
}
