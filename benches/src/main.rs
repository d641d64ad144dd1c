//! Measures the live plane against Debian's nginx with libnginx-mod-rtmp in the same run, and prints a table.
//!
//! Servers run on one core, the load on the other; what counts is the server's CPU time per unit of work. Rounds alternate
//! between the servers. `bench-live [--only WORD] [--rounds N]`.

mod cpu;
mod flv;
mod http;
mod latency;
mod load;
mod measures;
mod report;
mod server;

/// Why a measurement could not be made.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> std::process::ExitCode {
    // The load, FFmpeg included, keeps off the server's core.
    let pid = std::process::id().to_string();
    let _ = std::process::Command::new("taskset").args(["-a", "-c", "-p", server::LOAD_CORE, &pid]).output();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run()));
    match result {
        Ok(rows) => {
            println!("\n{}", report::table(&rows));
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-live: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome<Vec<report::Row>> {
    let mut arguments = std::env::args().skip(1);
    let (mut only, mut rounds) = (None, 3);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => only = arguments.next(),
            "--rounds" => rounds = arguments.next().ok_or("--rounds takes a number")?.parse()?,
            other => return Err(format!("{other}: use --only WORD or --rounds N").into()),
        }
    }
    let wanted = |name: &str| only.as_deref().is_none_or(|word| name.contains(word));
    let mut rows = Vec::new();
    if wanted("first-playlist") {
        rows.extend(measures::first_playlist(rounds).await?);
    }
    if wanted("join") {
        rows.extend(measures::rtmp_join(rounds).await?);
    }
    if wanted("ingest") {
        rows.extend(measures::ingest(100, rounds).await?);
    }
    if wanted("fanout-500") {
        rows.extend(measures::fanout(500, rounds).await?);
    }
    if wanted("fanout-2000") {
        rows.extend(measures::fanout(2_000, rounds).await?);
    }
    if wanted("glass") {
        rows.extend(latency::glass_to_glass(rounds)?);
    }
    if wanted("exact") {
        rows.extend(measures::exact().await?);
    }
    if wanted("parked") {
        rows.extend(measures::parked(1_000).await?);
    }
    if wanted("memory") {
        rows.extend(measures::memory().await?);
    }
    Ok(rows)
}
