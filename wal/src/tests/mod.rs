//! Tests of the whole log, through one harness.
