//! One request and its answer, for set-up and probing.

use crate::{Answer, Error, Next, Plan, Target, Workload, run};

/// An answer that outlives its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Sends `request`, one complete HTTP/1.1 request, on a connection of its own and waits for the answer.
///
/// # Errors
/// The target cannot be reached, or the connection ended without an answer.
pub fn fetch(target: &Target, request: Vec<u8>) -> Result<Fetched, Error> {
    let mut once = Once { request: Some(request), fetched: None };
    run(&Plan::exhaust(target.clone(), 1), &mut once)?;
    once.fetched.ok_or(Error::Incomplete { step: "fetch", missing: 1, wanted: 1 })
}

struct Once {
    request: Option<Vec<u8>>,
    fetched: Option<Fetched>,
}

impl Workload for Once {
    fn next(&mut self, _connection: usize, request: &mut Vec<u8>) -> Next {
        match self.request.take() {
            Some(bytes) => {
                request.extend_from_slice(&bytes);
                Next::Send
            }
            None => Next::Finished,
        }
    }

    fn answered(&mut self, _connection: usize, answer: Answer<'_>) {
        self.fetched = Some(Fetched { status: answer.status, body: answer.body.to_vec() });
    }
}
