//! Windrow's statements: a parser in front of DataFusion's.
