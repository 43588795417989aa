//! `bridge logs`: the logs of the daemon, or of a target's agents.

use bridge_proto::target::Target;
use std::{io, time::Duration};

use bridge_client::Place;
use bridge_cluster::{Cluster, logs};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    time::interval,
};

use super::{args::LogsArgs, error::Failed, exit::Exit, output, request};

/// A file tells nobody that it has grown.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

pub(crate) async fn run(args: LogsArgs) -> Result<(), Failed> {
    match &args.target {
        None => of_daemon(&args).await,
        Some(target) => of_agents(target, &args).await,
    }
}

async fn of_daemon(args: &LogsArgs) -> Result<(), Failed> {
    let path = Place::find()?.log_file();
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
    let cluster = Cluster::of(&request::access(&args.cluster, &request::config()?)?).await?;
    let service = bridge_cluster::target::resolve(&cluster, target).await?;
    let pods = logs::agents(&cluster, &service).await?;
    if pods.is_empty() {
        let message = format!("Service {service} in namespace {} has no agents", cluster.namespace);
        return Err(Failed::new(
            Exit::Target,
            message,
            format!("nobody is connected: bridge connect {service}"),
        ));
    }
    let part = logs::Part { follow: args.follow, tail: args.tail };
    let mut all = Vec::new();
    for pod in &pods {
        // With one pod there is nothing to tell apart.
        let prefix = if pods.len() > 1 { format!("{pod}  ") } else { String::new() };
        let lines = logs::lines(&cluster, pod, part).await?;
        all.push(lines.map(move |line| line.map(|line| output::line(&format!("{prefix}{line}")))).boxed());
    }
    // Those that follow come as they are said; the others pod after pod.
    let mut lines = match args.follow {
        true => stream::select_all(all).boxed(),
        false => stream::iter(all).flatten().boxed(),
    };
    while let Some(line) = lines.try_next().await? {
        output::print(&line)?;
    }
    Ok(())
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
