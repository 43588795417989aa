//! `bridge dns`: shows what a name resolves to for a supervised process, and which resolver answers.

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use serde::Serialize;

use super::args::DnsArgs;
use super::attach;
use super::error::Failed;
use super::exit::Exit;
use super::output::{self, line};
use bridge_client::Attached;
use bridge_inside::network::{Answered, Choice, Network, Source};

/// The output. The names of the fields are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    name: String,
    r#type: String,
    /// NOERROR, NXDOMAIN …
    status: String,
    /// cluster, laptop or nobody.
    source: &'static str,
    /// The name by which the cluster knows it, this machine's resolver that answered, or why there was no answer.
    by: String,
    records: Vec<Record>,
}

#[derive(Debug, Serialize)]
struct Record {
    name: String,
    ttl: u32,
    r#type: String,
    data: String,
}

pub(crate) async fn run(args: DnsArgs) -> Result<(), Failed> {
    let query = query(&args.name, args.record_type.as_deref())?;
    let mut attached = match (attach::existing(args.target.as_ref(), &args.cluster).await?, args.target) {
        (Some(attached), _) => attached,
        (None, Some(target)) => attach::without_listening(target, args.cluster).await?,
        (None, None) => {
            let message = "no --target given, and not exactly one target is connected";
            return Err(Failed::new(Exit::Usage, message, "choose one: bridge dns NAME --target SERVICE"));
        }
    };
    let answered = ask(&mut attached, &query).await;
    let ended = attach::end(attached).await;
    let answer = answer(&query, answered?)?;
    output::print_as(args.output.output, &answer, || answer.describe())?;
    ended
}

async fn ask(attached: &mut Attached, query: &Query) -> Result<Answered, Failed> {
    let surroundings = attached.surroundings().await?;
    let network = Network::of(attached, &surroundings, Choice::default());
    let answered = network.ask(query.clone()).await;
    answered.map_err(|error| Failed::internal(format!("cannot look up that name: {error}")))
}

/// An address is looked up by its reverse name.
fn query(name: &str, record_type: Option<&str>) -> Result<Query, Failed> {
    let wrong = |why: String| Failed::new(Exit::Usage, why, "");
    if let (Ok(address), None) = (name.parse::<std::net::IpAddr>(), record_type) {
        return Ok(Query::query(Name::from(address), RecordType::PTR));
    }
    let record_type = record_type.unwrap_or("A").to_uppercase();
    let record_type =
        record_type.parse().map_err(|_| wrong(format!("unknown DNS record type {record_type:?}")))?;
    let mut name = Name::from_utf8(name).map_err(|error| wrong(format!("invalid name {name:?}: {error}")))?;
    name.set_fqdn(true);
    Ok(Query::query(name, record_type))
}

fn answer(query: &Query, answered: Answered) -> Result<Answer, Failed> {
    let message = Message::from_vec(&answered.message)
        .map_err(|error| Failed::internal(format!("cannot read the answer: {error}")))?;
    let (source, by) = match answered.source {
        Source::Cluster(name) => ("cluster", name.to_string()),
        Source::Laptop(resolver) => ("laptop", resolver.to_string()),
        Source::Nobody(why) => ("nobody", why),
    };
    let record = |record: &hickory_proto::rr::Record| Record {
        name: record.name.to_string(),
        ttl: record.ttl,
        r#type: record.record_type().to_string(),
        data: record.data.to_string(),
    };
    Ok(Answer {
        name: query.name.to_string(),
        r#type: query.query_type.to_string(),
        status: message.metadata.response_code.to_string(),
        source,
        by,
        records: message.answers.iter().map(record).collect(),
    })
}

impl Answer {
    fn describe(&self) -> String {
        let from = match self.source {
            "cluster" => format!("from the cluster, as {}", self.by),
            "laptop" => format!("unknown to the cluster; from your laptop's resolver {}", self.by),
            _ => format!("no resolver could be asked: {}", self.by),
        };
        let mut text = line(&format!("{} {}: {} ({from})", self.name, self.r#type, self.status));
        for record in &self.records {
            text.push_str(&line(&format!("  {}  {}  {}", record.r#type, record.data, record.name)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_steers_the_terminal() {
        let hostile = || output::HOSTILE.to_owned();
        let record = Record { name: hostile(), ttl: 5, r#type: "TXT".to_owned(), data: hostile() };
        let answer = Answer {
            name: hostile(),
            r#type: "TXT".to_owned(),
            status: hostile(),
            source: "nobody",
            by: hostile(),
            records: vec![record],
        };
        assert!(output::is_harmless(&answer.describe(), 2), "{:?}", answer.describe());
    }
}
