//! Bodies of Arrow IPC that nobody meant to send.

use proptest::prelude::*;

use super::*;
use crate::fuzz::arrow::{WORDS, seeds};
use crate::fuzz::{Bytes, edited, fuzz};

const BYTES_MAX: usize = 1 << 16;

#[test]
fn arrow_body() {
    fuzz("arrow_body", &edited(seeds(), WORDS, 3), |Bytes(body)| {
        match batches(&body, BYTES_MAX) {
            Ok((schema, batches)) => {
                let mut rows = 0;
                for batch in &batches {
                    prop_assert_eq!(batch.schema(), schema.clone());
                    rows += batch.num_rows();
                }
                // A value takes a bit at least.
                prop_assert!(
                    rows <= 8 * body.len(),
                    "{rows} rows of {} bytes",
                    body.len()
                );
            }
            Err(Fault::Bad(status, reason)) => {
                prop_assert!(status == 400 && !reason.is_empty());
            }
            Err(fault) => prop_assert!(false, "{fault:?}"),
        }
        Ok(())
    });
}
