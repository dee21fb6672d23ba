//! `agentpay seed`: demo agents with funded wallets, a service each and a few payments, made over the API of a running node, exactly as
//! a user would. Prints the keys, because they are shown only once.

use crate::cli;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::http_client::{Answered, Client};
use crate::output::{Output, table};
use serde::Serialize;
use serde_json::{Value, json};

/// What every demo agent gets from the faucet and what it pays to its neighbour.
const FUNDED: &str = "100";
const PAID: &str = "2.5";
/// Price of a call of every demo service.
const PRICE: &str = "0.05";
const NAMES: [&str; 6] = ["ResearchOps", "DataBuyer", "Translator", "Scheduler", "Archivist", "Planner"];

#[derive(Serialize)]
struct Seeded {
    url: String,
    agents: Vec<SeededAgent>,
    /// Slugs.
    services: Vec<String>,
    payments: Vec<String>,
}

#[derive(Serialize)]
struct SeededAgent {
    name: String,
    id: String,
    wallet_id: String,
    api_key: String,
    secret_key: String,
}

pub(crate) fn seed(config: &Config, options: &cli::Seed, output: Output) -> Result<(), Failure> {
    let url = options.url.clone().unwrap_or_else(|| format!("http://{}", config.server.listen));
    let seeded = crate::node::runtime(config)?.block_on(run(&url, options.agents))?;
    output.answer(&seeded, || text(&seeded))
}

async fn run(url: &str, count: u32) -> Result<Seeded, Failure> {
    let mut client = Client::connect(url).await?;
    let mut agents: Vec<SeededAgent> = Vec::new();
    for index in 0..count {
        let agent = create(&mut client, index).await?;
        let path = format!("/v1/wallets/{}/fund", agent.wallet_id);
        let body = json!({ "amount": FUNDED, "source": "test_faucet" });
        expect(&path, client.post(&path, Some(&agent.api_key), &body).await?)?;
        agents.push(agent);
    }
    let mut services = Vec::new();
    for agent in &agents {
        // Names of services are unique on a node, names of agents are not.
        let body = json!({
            "name": format!("{} {}", agent.name, agent.id),
            "price_per_call": PRICE,
            "category": "demo",
            "sla": { "window_seconds": 30 },
        });
        let answer = expect("/v1/services", client.post("/v1/services", Some(&agent.api_key), &body).await?)?;
        services.push(text_of(&answer, "slug")?);
    }
    let mut payments = Vec::new();
    for (index, payer) in agents.iter().enumerate() {
        let payee = &agents[(index + 1) % agents.len()];
        let body = json!({
            "from_wallet_id": payer.wallet_id,
            "to_wallet_id": payee.wallet_id,
            "amount": PAID,
            "description": format!("{} pays {}", payer.name, payee.name),
            "idempotency_key": format!("seed-{index}"),
        });
        let answer = expect("/v1/payments", client.post("/v1/payments", Some(&payer.api_key), &body).await?)?;
        payments.push(text_of(&answer, "id")?);
    }
    Ok(Seeded { url: url.to_owned(), agents, services, payments })
}

async fn create(client: &mut Client, index: u32) -> Result<SeededAgent, Failure> {
    let place = usize::try_from(index).expect("an index of at most a thousand agents");
    let round = place / NAMES.len();
    let name = match round {
        0 => NAMES[place].to_owned(),
        _ => format!("{} {}", NAMES[place % NAMES.len()], round + 1),
    };
    let body = json!({ "name": name, "operator": "demo" });
    let answer = expect("/v1/agents", client.post("/v1/agents", None, &body).await?)?;
    Ok(SeededAgent {
        name,
        id: text_of(&answer, "id")?,
        wallet_id: text_of(&answer, "wallet_id")?,
        api_key: text_of(&answer, "api_key")?,
        secret_key: text_of(&answer, "secret_key")?,
    })
}

/// The body of a successful answer; otherwise what the node said, with the way out where there is one.
fn expect(path: &str, answered: Answered) -> Result<Value, Failure> {
    if (200..300).contains(&answered.status) {
        return Ok(answered.body);
    }
    let error = &answered.body["error"];
    let said = error["message"].as_str().unwrap_or("no reason given");
    let code = error["code"].as_str().unwrap_or("no code");
    let advice = match answered.status {
        429 => {
            "; agents are created at a limited rate (key `rates.anonymous_per_minute`): wait, or create fewer"
        }
        401 if path == "/v1/agents" => "; in production, agents are created by operators",
        _ => "",
    };
    let status = answered.status;
    Err(Failure::new(Exit::Failure, format!("POST {path} was answered with {status} {code}: {said}{advice}")))
}

fn text_of(answer: &Value, field: &str) -> Result<String, Failure> {
    answer[field].as_str().map(str::to_owned).ok_or_else(|| {
        Failure::new(Exit::Failure, format!("the node's answer lacks `{field}`; is it of another version?"))
    })
}

fn text(seeded: &Seeded) -> String {
    let rows: Vec<Vec<String>> = seeded
        .agents
        .iter()
        .map(|agent| {
            vec![agent.name.clone(), agent.wallet_id.clone(), agent.api_key.clone(), agent.secret_key.clone()]
        })
        .collect();
    let first = seeded.agents.first().expect("at least two agents are seeded");
    format!(
        "{}\n\n{} services registered, {} payments made. Keys are shown only once. Try:\n\n  curl {}/v1/wallets/{}/balance \\\n    -H \
         'Authorization: Bearer {}'",
        table(&["agent", "wallet", "api_key", "secret_key"], &rows),
        seeded.services.len(),
        seeded.payments.len(),
        seeded.url,
        first.wallet_id,
        first.api_key,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_passed_on_with_a_way_out() {
        let answered = |status, body| Answered { status, body };
        let body = json!({ "error": { "code": "AP-3002", "message": "too many agents" } });
        let failure = expect("/v1/agents", answered(429, body)).expect_err("not a success");
        assert!(
            failure.message.contains("429 AP-3002: too many agents; agents are created at a limited rate")
        );
        let failure = expect("/v1/payments", answered(500, Value::Null)).expect_err("not a success");
        assert!(failure.message.contains("500 no code: no reason given"));
        assert_eq!(expect("/x", answered(201, json!({"id": "a"}))).expect("success")["id"], "a");
    }

    #[test]
    fn missing_fields_are_named() {
        assert!(text_of(&json!({"id": 1}), "id").expect_err("a number").message.contains("`id`"));
        assert_eq!(text_of(&json!({"id": "a"}), "id").expect("text"), "a");
    }
}
