//! `bridge requests`: the requests that the agents saw, where each went, and why.

pub(crate) mod wanted;

use std::time::Duration;

use bridge_client::{RuntimeDir, running};
use bridge_proto::target::Target;
use bridge_proto::v1::{self, Reason};
use serde::Serialize;

use self::wanted::Wanted;
use super::{
    args::RequestsArgs,
    error::Failed,
    exit::Exit,
    output::{self, Format, GREEN, RED, YELLOW, milliseconds, printable, styled},
    request,
};

/// Columns grow with their content, up to here.
const WIDEST: usize = 48;

/// The output of `requests -o json`, once or for each request. The names of the fields are stable.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seen {
    /// When it began, by the agent's clock: RFC 3339, UTC.
    time: String,
    pub(crate) target: String,
    /// The agent's pod, and the port that it listens on.
    agent: String,
    port: u32,
    /// None, like method, path, status and duration, for a connection that is relayed unread.
    protocol: Option<String>,
    method: Option<String>,
    path: Option<String>,
    /// None if it ended without an answer.
    status: Option<u32>,
    grpc_status: Option<u32>,
    duration_ms: Option<f64>,
    /// laptop, origin or copy.
    pub(crate) to: &'static str,
    /// The user whose route it matched.
    pub(crate) user: Option<String>,
    reason: &'static str,
    /// The subject of the reason: the match that holds, or the condition that failed.
    about: Option<String>,
    /// The value, if it differs.
    saw: Option<String>,
    /// The reason for people.
    pub(crate) why: String,
    /// The trace that it belongs to, by its header traceparent.
    pub(crate) trace: Option<String>,
    #[serde(skip)]
    pub(crate) begun_us: u64,
}

/// The output of `requests -o json` without -f.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    requests: Vec<Seen>,
    /// The number of requests that were not kept.
    left_out: u64,
}

impl From<v1::SeenByAgent> for Seen {
    fn from(seen: v1::SeenByAgent) -> Self {
        let request = seen.request.unwrap_or_default();
        let reason = request.reason();
        let given = |text: String| (!text.is_empty()).then_some(text);
        let is_read = !request.protocol.is_empty();
        let unexplained = Seen {
            why: String::new(),
            time: utc(request.begun_us),
            target: seen.target,
            agent: seen.pod,
            port: request.target_port,
            protocol: given(request.protocol),
            method: given(request.method),
            path: given(request.path),
            status: (request.status != 0).then_some(request.status),
            grpc_status: request.grpc_status,
            duration_ms: is_read.then_some(request.took_us as f64 / 1000.0),
            to: match request.to_laptop {
                true if is_of_copy(reason) => "copy",
                true => "laptop",
                false => "origin",
            },
            user: given(request.user),
            reason: word(reason),
            about: given(request.about),
            saw: given(request.saw),
            trace: given(request.trace),
            begun_us: request.begun_us,
        };
        Seen { why: unexplained.explanation(), ..unexplained }
    }
}

/// Whether it is the end of a copy.
fn is_of_copy(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Copy
            | Reason::CopyTooSlow
            | Reason::CopyNoRoom
            | Reason::CopyCutShort
            | Reason::CopyNoAnswer
            | Reason::CopyLaptopAway
            | Reason::CopyNothingListens
    )
}

/// The reason for programs.
fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Matched => "matched",
        Reason::NoRoute => "no-route",
        Reason::Absent => "absent",
        Reason::Differs => "differs",
        Reason::LaptopAway => "laptop-away",
        Reason::NothingListens => "nothing-listens",
        Reason::Tls => "opaque-tls",
        Reason::ServerSpokeFirst => "opaque-server-spoke-first",
        Reason::NotHttp => "opaque-not-http",
        Reason::Ambiguous => "opaque-ambiguous",
        Reason::Loop => "loop",
        Reason::OwnPod => "opaque-own-pod",
        Reason::Copied => "copied",
        Reason::NotCopied => "not-copied",
        Reason::Copy => "copy",
        Reason::CopyTooSlow => "copy-too-slow",
        Reason::CopyNoRoom => "copy-no-room",
        Reason::CopyCutShort => "copy-cut-short",
        Reason::CopyNoAnswer => "copy-no-answer",
        Reason::CopyLaptopAway => "copy-laptop-away",
        Reason::CopyNothingListens => "copy-nothing-listens",
        Reason::Unspecified => "unknown",
    }
}

impl Seen {
    fn explanation(&self) -> String {
        let about = self.about.as_deref().unwrap_or_default();
        let whose = self.user.as_deref().unwrap_or("nobody");
        match (self.reason, &self.saw) {
            ("matched", _) => format!("matched {about}"),
            ("no-route", _) => "no session takes requests on this port".to_owned(),
            ("absent", _) => format!("{about} absent"),
            ("differs", Some(saw)) => format!("{about} differs: saw `{saw}`"),
            ("differs", None) => format!("{about} differs"),
            ("laptop-away", _) => format!("{whose}'s laptop away (matched {about})"),
            ("nothing-listens", _) => format!("nothing listens on {whose}'s laptop (matched {about})"),
            ("opaque-tls", _) => "opaque: TLS".to_owned(),
            ("opaque-server-spoke-first", _) => "opaque: the server spoke first".to_owned(),
            ("opaque-not-http", _) => "opaque: not HTTP".to_owned(),
            ("opaque-ambiguous", _) => "opaque: ambiguous message".to_owned(),
            ("loop", _) => format!("comes back from {whose}'s laptop (matched {about})"),
            ("opaque-own-pod", _) => {
                "opaque: from a port-forward or a laptop, so not sent to a laptop".to_owned()
            }
            ("copied", _) => format!("copied to {whose}'s laptop (matched {about})"),
            ("not-copied", _) => format!("not copied: asks for another protocol (matched {about})"),
            ("copy", _) => format!("copy: the answer was dropped (matched {about})"),
            ("copy-too-slow", _) => format!("copy given up: {whose}'s laptop was too slow for it"),
            ("copy-no-room", _) => format!("copy given up: too many wait for {whose}'s laptop"),
            ("copy-cut-short", _) => "copy given up: the request did not come to its end".to_owned(),
            ("copy-no-answer", _) => format!("copy given up: no answer from {whose}'s laptop"),
            ("copy-laptop-away", _) => format!("copy given up: {whose}'s laptop away"),
            ("copy-nothing-listens", _) => format!("copy given up: nothing listens on {whose}'s laptop"),
            (other, _) => other.to_owned(),
        }
    }

    /// "alice's laptop", "origin"
    pub(crate) fn destination(&self) -> String {
        match (self.to, &self.user) {
            ("laptop", Some(user)) => format!("{user}'s laptop"),
            ("copy", Some(user)) => format!("{user}'s laptop (copy)"),
            (to, _) => to.to_owned(),
        }
    }

    fn row(&self, targets: bool) -> Vec<String> {
        let dash = || "-".to_owned();
        let status = match (self.status, self.grpc_status) {
            (Some(status), Some(grpc)) => format!("{status}/{grpc}"),
            (Some(status), None) => status.to_string(),
            (None, _) => dash(),
        };
        let mut row = vec![local_time(self.begun_us)];
        if targets {
            row.push(self.target.clone());
        }
        row.extend([
            self.method.clone().unwrap_or_else(dash),
            self.path.clone().unwrap_or_else(dash),
            status,
            self.duration_ms.map_or_else(dash, milliseconds),
            self.destination(),
            self.why.clone(),
        ]);
        row.into_iter().map(|cell| printable(&cell)).collect()
    }

    fn line(&self, columns: &mut Columns) -> String {
        let line = columns.line(&self.row(columns.targets));
        let style = match (self.reason, self.to, self.status) {
            (_, _, Some(500..)) => RED,
            ("differs" | "laptop-away" | "nothing-listens" | "opaque-own-pod", ..) => YELLOW,
            (_, "laptop", _) | ("copy", ..) => GREEN,
            (_, "copy", _) => YELLOW,
            _ => return line + "\n",
        };
        styled(style, &line) + "\n"
    }
}

fn timestamp(begun_us: u64) -> jiff::Timestamp {
    i64::try_from(begun_us).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok()).unwrap_or_default()
}

fn utc(begun_us: u64) -> String {
    format!("{:.6}", timestamp(begun_us))
}

/// The time in the user's time zone.
fn local_time(begun_us: u64) -> String {
    timestamp(begun_us).to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

/// Columns that keep their width from line to line, and grow when they must.
#[derive(Debug)]
struct Columns {
    /// Several Services are shown: each line names its Service.
    targets: bool,
    widths: Vec<usize>,
}

impl Columns {
    fn new(targets: bool) -> Self {
        let widths = [12, 6, 16, 6, 8, 6, 0];
        let target = targets.then_some(8);
        Columns {
            targets,
            widths: widths[..1].iter().copied().chain(target).chain(widths[1..].iter().copied()).collect(),
        }
    }

    fn head(&mut self) -> String {
        let target = self.targets.then_some("TARGET");
        let names =
            ["TIME"].into_iter().chain(target).chain(["METHOD", "PATH", "STATUS", "TOOK", "TO", "WHY"]);
        self.line(&names.map(str::to_owned).collect::<Vec<_>>()) + "\n"
    }

    /// Grows the columns, so that the next lines are aligned from the first.
    fn fit(&mut self, rows: &[Vec<String>]) {
        for (index, cell) in rows.iter().flat_map(|row| row.iter().enumerate()) {
            let width = &mut self.widths[index];
            *width = (*width).max(cell.chars().count().min(WIDEST));
        }
    }

    fn line(&mut self, row: &[String]) -> String {
        self.fit(&[row.to_vec()]);
        let cells = row.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// Returns the exit code: 1 if requests were waited for and did not come.
pub(crate) async fn run(args: RequestsArgs) -> Result<u8, Failed> {
    let Some(mut daemon) = running(&RuntimeDir::find()?).await? else { return Err(not_connected(&args)) };
    let sessions = bridge_client::meant(&mut daemon, which(&args)).await?;
    if sessions.is_empty() {
        return Err(not_connected(&args));
    }
    let mut columns = Columns::new(sessions.len() > 1);
    let follow = args.follow || args.wait.is_some();
    let me: Vec<String> = sessions.iter().map(|session| session.user.clone()).collect();
    let ids = sessions.into_iter().map(|session| session.id).collect();
    let query = v1::RequestsQuery { sessions: ids, follow };
    let mut seen = bridge_client::Seen::by(&mut daemon, query).await?;
    if let Some(wanted) = &args.wait {
        let mut waiting = Waiting { seen, wanted, me, columns, left: args.count };
        return waiting.until(args.timeout, args.output.output).await;
    }
    let mut first = true;
    while let Some(batch) = seen.next().await? {
        print(batch, args.output.output, args.follow, &mut columns, std::mem::take(&mut first))?;
    }
    if args.follow {
        output::note("the sessions have ended\n");
    }
    Ok(0)
}

/// Requests that are waited for.
struct Waiting<'a> {
    seen: bridge_client::Seen,
    wanted: &'a Wanted,
    /// The names of this user's sessions.
    me: Vec<String>,
    columns: Columns,
    /// The number of those that have not come yet.
    left: u64,
}

impl Waiting<'_> {
    /// Prints the wanted ones as they come; returns the exit code.
    async fn until(&mut self, timeout: Duration, format: Format) -> Result<u8, Failed> {
        let all = self.left;
        if let Ok(done) = tokio::time::timeout(timeout, self.come(format)).await {
            done?;
        }
        if self.left == 0 {
            return Ok(0);
        }
        let (came, within) = (all - self.left, output::duration(timeout));
        output::note(&format!("{came} of {all} requests came within {within}\n"));
        Ok(1)
    }

    /// Until all have come, or the sessions have ended.
    async fn come(&mut self, format: Format) -> Result<(), Failed> {
        // What came before is not waited for.
        let _ = self.seen.next().await?;
        let mut first = true;
        while let Some(mut batch) = self.seen.next().await? {
            batch.requests.retain(|seen| {
                let is_wanted = self.left > 0 && self.wanted.is(&Seen::from(seen.clone()), &self.me);
                self.left -= u64::from(is_wanted);
                is_wanted
            });
            if batch.requests.is_empty() {
                continue;
            }
            print(batch, format, true, &mut self.columns, std::mem::take(&mut first))?;
            if self.left == 0 {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn which(args: &RequestsArgs) -> v1::FindRequest {
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    v1::FindRequest {
        target: args.target.as_ref().map(Target::to_string).unwrap_or_default(),
        cluster: Some(request::named(given(&args.context), given(&args.namespace))),
        ..v1::FindRequest::default()
    }
}

fn not_connected(args: &RequestsArgs) -> Failed {
    let message = super::disconnect::not_connected(args.target.as_ref());
    Failed::new(Exit::Target, message, "connect first, to see the requests: bridge connect TARGET")
}

fn print(
    batch: v1::SeenByAgents,
    format: Format,
    follow: bool,
    columns: &mut Columns,
    first: bool,
) -> Result<(), Failed> {
    let left_out = batch.left_out;
    let requests: Vec<Seen> = batch.requests.into_iter().map(Seen::from).collect();
    match format {
        Format::Text => {
            let mut text = table(&requests, columns, first);
            if first && requests.is_empty() && !follow {
                text = "no requests yet\n".to_owned();
            }
            output::print(&text)?;
        }
        format if !follow => return output::print_as(format, &Listing { requests, left_out }, String::new),
        Format::Json => output::print_data(&json_lines(&requests)?)?,
        Format::Yaml if requests.is_empty() => {}
        // A list, item by item: all items together are one list.
        Format::Yaml => output::print_as(Format::Yaml, &requests, String::new)?,
    }
    if left_out > 0 {
        output::note(&format!(
            "… {left_out} more are not shown: agents keep only so many, and only so many a second\n"
        ));
    }
    Ok(())
}

fn table(requests: &[Seen], columns: &mut Columns, first: bool) -> String {
    columns.fit(&requests.iter().map(|seen| seen.row(columns.targets)).collect::<Vec<_>>());
    let mut text = if first { columns.head() } else { String::new() };
    for seen in requests {
        text.push_str(&seen.line(columns));
    }
    text
}

fn json_lines(requests: &[Seen]) -> Result<String, Failed> {
    let line = |seen| serde_json::to_string(seen).map(|line| output::json(&line) + "\n");
    requests
        .iter()
        .map(line)
        .collect::<Result<_, _>>()
        .map_err(|error| Failed::internal(format!("cannot write the result: {error}")))
}

#[cfg(test)]
mod tests;
