//! Services that are called in the x402 load: each offered by another agent, all at the same price.

use serde_json::Value;

use crate::steps::Steps;
use crate::{Error, RequestTemplate, Roster, Target, Watch};

/// Price of a call as it stands in the request, and the same in 10⁻⁹.
const PRICE: &str = "0.01";
pub(crate) const PRICE_NANOS: i128 = 10_000_000;

/// The services, and who offers them.
#[derive(Debug, Clone, Default)]
pub struct Market {
    pub(crate) services: Vec<Service>,
}

#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) id: String,
    /// Number of the agent.
    pub(crate) provider: u32,
}

impl Market {
    /// Registers one service for each of the last `providers` agents of the roster; the others consume.
    ///
    /// # Errors
    /// There are not enough agents, or the node refuses. A node without services gets words of its own.
    pub fn open(
        target: &Target,
        roster: &Roster,
        providers: usize,
        connections: usize,
        name_seed: u64,
        watch: &mut dyn Watch,
    ) -> Result<Market, Error> {
        const STEP: &str = "register a service";
        let agents = roster.agents().len();
        if providers == 0 || providers >= agents {
            return Err(Error::Plan("x402 needs at least one provider and one agent that consumes"));
        }
        let first = agents - providers;
        let mut services: Vec<Option<Service>> = vec![None; providers];
        let write = |index: usize, out: &mut Vec<u8>| {
            let agent = &roster.agents()[first + index];
            let body = format!(
                r#"{{"name":"load-{name_seed:x}-{index}","description":"made by a load test","price_per_call":{PRICE},"currency":"USD","category":"load","endpoint_url":"https://service-{index}.example/load"}}"#
            );
            RequestTemplate::post(&target.authority, "/v1/services", Some(&agent.api_key))
                .write(body.as_bytes(), out);
        };
        let read = |index: usize, body: &[u8]| {
            let shape =
                || Error::Shape { step: STEP, field: "id", body: String::from_utf8_lossy(body).into_owned() };
            let value: Value = serde_json::from_slice(body).map_err(|_| shape())?;
            let id = value["id"].as_str().ok_or_else(shape)?.to_owned();
            let provider = u32::try_from(first + index).map_err(|_| shape())?;
            services[index] = Some(Service { id, provider });
            Ok(())
        };
        let carried_out =
            Steps::new(STEP, providers, connections.min(providers), write, read).carry_out(target, watch);
        match carried_out {
            Err(Error::Refused { status: 404, body, .. }) => {
                return Err(Error::NoSuchRoute { route: "POST /v1/services", body });
            }
            other => other?,
        }
        Ok(Market { services: services.into_iter().flatten().collect() })
    }
}
