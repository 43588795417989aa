//! `bridge logs`: the logs of the daemon, of a target's agents, or of a command that was detached.

use std::{io, path::PathBuf, time::Duration};

use bridge_client::{ClientError, RuntimeDir};
use bridge_proto::target::Target;
use bridge_proto::v1::{self, logs_event};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    time::interval,
};

use super::{args::LogsArgs, detached, error::Failed, exit::Exit, output, request};

/// Nothing reports that a file has grown.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

pub(crate) async fn run(args: LogsArgs) -> Result<(), Failed> {
    match &args.target {
        None => of_file(RuntimeDir::find()?.log_file(), &args).await,
        Some(target) => match detached::log_of(&target.to_string()) {
            Some(log) => of_file(log, &args).await,
            None => of_agents(target, &args).await,
        },
    }
}

async fn of_file(path: PathBuf, args: &LogsArgs) -> Result<(), Failed> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failed::new(Exit::Internal, "no daemon has run since the last login", "bridge connect starts one")
        }
        _ => Failed::new(Exit::Internal, format!("cannot read {}: {error}", path.display()), ""),
    };
    let mut file = File::open(&path).await.map_err(unreadable)?;
    let mut text = String::new();
    file.read_to_string(&mut text).await.map_err(unreadable)?;
    output::print(args.tail.map_or(text.as_str(), |lines| last_lines(&text, lines)))?;

    if !args.follow {
        return Ok(());
    }
    let mut ticks = interval(LOOK_AGAIN);
    loop {
        ticks.tick().await;
        let read = file.stream_position().await.map_err(unreadable)?;
        let size = tokio::fs::metadata(&path).await.map_or(read, |metadata| metadata.len());
        if size < read {
            // A new daemon began a new file.
            file = File::open(&path).await.map_err(unreadable)?;
        }
        let mut more = String::new();
        file.read_to_string(&mut more).await.map_err(unreadable)?;
        output::print(&more)?;
    }
}

async fn of_agents(target: &Target, args: &LogsArgs) -> Result<(), Failed> {
    let request = v1::LogsRequest {
        cluster: Some(request::cluster(&args.cluster, &request::config()?)?),
        target: target.to_string(),
        follow: args.follow,
        tail: args.tail.map(|lines| u64::try_from(lines).unwrap_or(u64::MAX)),
    };
    let mut daemon = bridge_client::started(&RuntimeDir::find()?).await?;
    let mut events = daemon.client.logs(request).await.map_err(ClientError::from)?.into_inner();
    while let Some(event) = events.message().await.map_err(ClientError::from)? {
        match event.kind {
            Some(logs_event::Kind::Line(line)) => output::print(&line_of(&line))?,
            Some(logs_event::Kind::Failed(failure)) => return Err(failure.into()),
            None => {}
        }
    }
    Ok(())
}

fn line_of(line: &v1::LogLine) -> String {
    let prefix = if line.pod.is_empty() { String::new() } else { format!("{}  ", line.pod) };
    output::line(&format!("{prefix}{}", line.text))
}

fn last_lines(text: &str, lines: usize) -> &str {
    let starts = text.match_indices('\n').map(|(at, _)| at + 1).filter(|at| *at < text.len());
    let starts: Vec<usize> = std::iter::once(0).chain(starts).collect();
    match lines {
        0 => "",
        lines => &text[starts[starts.len().saturating_sub(lines)]..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines() {
        for (text, lines, expected) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 1, "c"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\nb\n", 0, ""),
            ("", 3, ""),
        ] {
            assert_eq!(last_lines(text, lines), expected);
        }
    }
}
