//! A counted series of requests of one kind, each of which must succeed: how a load is prepared.

use crate::{Answer, Error, Next, Plan, Target, Watch, Workload, run_watched};

/// `write` writes the request with a number; `read` is given the number and the body of a success.
pub(crate) struct Steps<W, R> {
    step: &'static str,
    wanted: usize,
    connections: usize,
    issued: usize,
    answered: usize,
    /// Number of the request that each connection has out.
    current: Vec<usize>,
    failure: Option<Error>,
    write: W,
    read: R,
}

impl<W, R> Steps<W, R>
where
    W: FnMut(usize, &mut Vec<u8>),
    R: FnMut(usize, &[u8]) -> Result<(), Error>,
{
    pub(crate) fn new(
        step: &'static str,
        wanted: usize,
        connections: usize,
        write: W,
        read: R,
    ) -> Steps<W, R> {
        let current = vec![0; connections];
        Steps { step, wanted, connections, issued: 0, answered: 0, current, failure: None, write, read }
    }

    pub(crate) fn carry_out(mut self, target: &Target, watch: &mut dyn Watch) -> Result<(), Error> {
        if self.wanted == 0 {
            return Ok(());
        }
        let plan = Plan {
            label: self.step,
            expected: Some(self.wanted as u64),
            ..Plan::exhaust(target.clone(), self.connections)
        };
        run_watched(&plan, &mut self, watch)?;
        match self.failure {
            Some(failure) => Err(failure),
            None if self.answered == self.wanted => Ok(()),
            None => Err(Error::Incomplete {
                step: self.step,
                missing: self.wanted - self.answered,
                wanted: self.wanted,
            }),
        }
    }
}

impl<W, R> Workload for Steps<W, R>
where
    W: FnMut(usize, &mut Vec<u8>),
    R: FnMut(usize, &[u8]) -> Result<(), Error>,
{
    fn next(&mut self, connection: usize, request: &mut Vec<u8>) -> Next {
        if self.failure.is_some() || self.issued == self.wanted {
            return Next::Finished;
        }
        self.current[connection] = self.issued;
        (self.write)(self.issued, request);
        self.issued += 1;
        Next::Send
    }

    fn answered(&mut self, connection: usize, answer: Answer<'_>) {
        let result = if answer.is_success() {
            self.answered += 1;
            (self.read)(self.current[connection], answer.body)
        } else {
            Err(Error::refused(self.step, answer.status, answer.body))
        };
        if let Err(error) = result {
            self.failure.get_or_insert(error);
        }
    }
}
