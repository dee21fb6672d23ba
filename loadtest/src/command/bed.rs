//! What a load runs on: a node (somebody's or our own), its agents and wallets, and services if the load calls some.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::arguments::NodeArguments;
use super::live_line::LiveLine;
use crate::{
    Market, NodeProcess, NodeSpec, OPERATOR_TOKEN, Population, PopulationSpec, Roster, Target, Traffic,
    Verification, VerifySpec, verify,
};

/// The node's program as a whole path, and the directory for its data, which exists then.
pub(crate) fn places(program: &Path, work_dir: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
    let program = program
        .canonicalize()
        .with_context(|| format!("there is no node's program at {}", program.display()))?;
    let beside = || program.parent().map(|dir| dir.join("loadtest-data"));
    let work_dir = work_dir.map(Path::to_owned).or_else(beside).context("a program lies in a directory")?;
    std::fs::create_dir_all(&work_dir).with_context(|| format!("cannot create {}", work_dir.display()))?;
    Ok((program, work_dir))
}

/// Where the node is.
pub(crate) enum Place {
    Elsewhere,
    /// The node is taken out while something else looks after it. The directory goes with the last of both.
    Ours {
        node: Option<NodeProcess>,
        _dir: TempDir,
    },
}

/// A node to load.
pub(crate) struct Bed {
    pub(crate) target: Target,
    pub(crate) place: Place,
    pub(crate) operator_token: Option<String>,
}

impl Bed {
    /// The node at an address, or a new one.
    pub(crate) fn open(
        url: &str,
        node: &NodeArguments,
        operator_token: Option<String>,
        line: &mut LiveLine,
    ) -> Result<Bed> {
        match &node.start_node {
            None => Ok(Bed { target: Target::parse(url)?, place: Place::Elsewhere, operator_token }),
            Some(program) => Bed::start(program, node.work_dir.as_deref(), &node.node_setting, line),
        }
    }

    /// A new node on a new data directory.
    pub(crate) fn start(
        program: &Path,
        work_dir: Option<&Path>,
        settings: &[(String, String)],
        line: &mut LiveLine,
    ) -> Result<Bed> {
        let (program, work_dir) = places(program, work_dir)?;
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(&work_dir)?;
        // The node runs in another directory, so its path must not depend on ours.
        let data_dir = dir.path().canonicalize()?.join("data");
        let node = NodeProcess::start(NodeSpec { program, data_dir, settings: settings.to_vec() })?;
        line.say(&format!("node {} listens on http://{}", node.process_id(), node.target().authority));
        Ok(Bed {
            target: node.target().clone(),
            operator_token: Some(OPERATOR_TOKEN.to_owned()),
            place: Place::Ours { node: Some(node), _dir: dir },
        })
    }

    /// Agents and funded wallets.
    pub(crate) fn populate(&self, spec: &PopulationSpec, line: &mut LiveLine) -> Result<Roster> {
        let population = Population::create_watched(&self.target, spec, line)?;
        Ok(Roster::new(&population))
    }

    /// Services, if there are to be any.
    pub(crate) fn open_market(
        &self,
        roster: &Roster,
        providers: usize,
        connections: usize,
        seed: u64,
        line: &mut LiveLine,
    ) -> Result<Market> {
        if providers == 0 {
            return Ok(Market::default());
        }
        Ok(Market::open(&self.target, roster, providers, connections, seed, line)?)
    }

    /// Whether nothing but this load has used the ledger.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self.place, Place::Ours { .. })
    }

    pub(crate) fn verify(
        &self,
        traffic: &mut Traffic<'_>,
        roster: &Roster,
        spec: VerifySpec,
        line: &mut LiveLine,
    ) -> Result<Verification> {
        let spec =
            VerifySpec { operator_token: self.operator_token.clone(), is_alone: self.is_alone(), ..spec };
        Ok(verify(traffic, roster, &self.target, &spec, line)?)
    }

    /// Ends a node of our own, in order.
    pub(crate) fn close(mut self) -> Result<()> {
        if let Place::Ours { node, .. } = &mut self.place
            && let Some(node) = node.take()
        {
            node.stop()?;
        }
        Ok(())
    }
}
