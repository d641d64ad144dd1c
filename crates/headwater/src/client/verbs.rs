//! Words into [`Verb`]s, and verbs into requests.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Api, Ask, Config, Error, Verb,
    show::{self, Line, cell, table},
    upload::{About, Upload},
    watch,
};
use crate::cli::say;

/// Rows asked for at once; the API's largest page.
const PAGE_ROWS: usize = 100;
/// Rows that a listing prints at most; a platform's machines use `--json` and the API's cursor.
const LISTED_ROWS_MAX: usize = 1_000;

fn id(name: &'static str) -> Arg {
    Arg::new("id").value_name(name).required(true)
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn group(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).subcommand_required(true).arg_required_else_help(true)
}

fn making(command: Command) -> Command {
    command
        .arg(option("title", "TEXT", "Title of the asset"))
        .arg(option("recipe", "NAME", "Recipe to prepare it with"))
        .arg(flag("watch", "Show a bar per rendition until everything is made"))
}

/// The subcommands of this module.
pub fn subcommands() -> Vec<Command> {
    let file = |help: &'static str| {
        Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(std::path::PathBuf)).help(help)
    };
    let state = || option("state", "STATE", "Only those in this state");
    let groups = vec![
        group("assets", "Upload, list and remove assets")
            .subcommand(making(Command::new("upload").about("Upload a file as a new asset").arg(file("The film"))))
            .subcommand(
                making(Command::new("import").about("Have the platform fetch a URL as a new asset"))
                    .arg(Arg::new("url").value_name("URL").required(true)),
            )
            .subcommand(Command::new("list").about("List assets, newest first").arg(state()).arg(option(
                "text",
                "TEXT",
                "Only those with this in their title",
            )))
            .subcommand(Command::new("show").about("Everything about one asset").arg(id("ASSET")))
            .subcommand(
                Command::new("reencode")
                    .about("Prepare an asset again, from its stored source")
                    .arg(id("ASSET"))
                    .arg(option("recipe", "NAME", "Recipe to prepare it with")),
            )
            .subcommand(Command::new("delete").about("Delete an asset and what was made of it").arg(id("ASSET"))),
        group("jobs", "Watch jobs, retry and stop them")
            .subcommand(Command::new("list").about("List jobs, newest first").arg(state()))
            .subcommand(Command::new("show").about("A job with its steps").arg(id("JOB")))
            .subcommand(Command::new("watch").about("Bars until the job is over").arg(id("JOB")))
            .subcommand(Command::new("retry").about("Go on from the steps that failed").arg(id("JOB")))
            .subcommand(Command::new("cancel").about("Stop a job for good").arg(id("JOB")))
            .subcommand(Command::new("pause").about("Start no further step of a job").arg(id("JOB")))
            .subcommand(Command::new("resume").about("Go on with a paused job").arg(id("JOB")))
            .subcommand(
                Command::new("prioritise")
                    .visible_alias("prioritize")
                    .about("Move a job in the queue")
                    .arg(id("JOB"))
                    .arg(
                        Arg::new("priority")
                            .value_name("NUMBER")
                            .required(true)
                            .allow_negative_numbers(true)
                            .value_parser(value_parser!(i64))
                            .help("Lower goes first; 0 is usual"),
                    ),
            ),
        group("workers", "See the workers, and take them out of service")
            .subcommand(Command::new("list").about("List workers"))
            .subcommand(Command::new("cordon").about("Give a node no new steps").arg(id("NAME")).arg(option(
                "reason",
                "TEXT",
                "Why, for the others",
            )))
            .subcommand(Command::new("uncordon").about("Give a node steps again").arg(id("NAME")))
            .subcommand(Command::new("drain").about("Have a worker finish what it has and leave").arg(id("WORKER"))),
        group("recipes", "See, store and try recipes")
            .subcommand(Command::new("list").about("List recipes"))
            .subcommand(Command::new("show").about("A recipe's newest version").arg(id("NAME")))
            .subcommand(
                Command::new("put")
                    .about("Store a recipe; a changed one is a new version")
                    .arg(id("NAME"))
                    .arg(file("TOML or JSON")),
            )
            .subcommand(
                Command::new("dry-run")
                    .about("Show the exact plan of a recipe for an asset")
                    .arg(id("NAME"))
                    .arg(Arg::new("asset").value_name("ASSET").required(true)),
            ),
        group("token", "Make and revoke access tokens")
            .subcommand(
                Command::new("create")
                    .about("Make a token; its secret is shown once")
                    .arg(Arg::new("label").value_name("LABEL").required(true))
                    .arg(
                        option("scopes", "SCOPE,...", "admin, write, read, worker")
                            .required(true)
                            .value_delimiter(',')
                            .action(ArgAction::Append),
                    )
                    .arg(option("tenant", "NAME", "Only this tenant's assets"))
                    .arg(option("days", "NUMBER", "Days until it ends").value_parser(value_parser!(u64))),
            )
            .subcommand(Command::new("list").about("List tokens, without their secrets"))
            .subcommand(Command::new("revoke").about("End a token").arg(id("TOKEN"))),
        Command::new("queue").about("How much work waits, per capability"),
        Command::new("clean")
            .about("Remove stored objects that nothing refers to any more")
            .arg(flag("dry-run", "Only say what would go")),
    ];
    let json =
        || Arg::new("json").long("json").action(ArgAction::SetTrue).global(true).help("Print JSON, for machines");
    groups.into_iter().map(|group| group.arg(json())).collect()
}

/// What the words of one of [`subcommands`] ask; `None` for other words.
pub fn parse<'a>(word: &str, matches: &'a ArgMatches) -> Option<(Ask, &'a ArgMatches)> {
    let (verb_word, inner) = matches.subcommand().unwrap_or(("", matches));
    let text = |name: &str| inner.try_get_one::<String>(name).ok().flatten().cloned();
    let id = || text("id").unwrap_or_default();
    let list = |of, names: &[&'static str]| Verb::List {
        of,
        query: names.iter().filter_map(|&name| Some((name, text(name)?))).collect(),
    };
    let act = |of, verb, body| Verb::Do { of, id: id(), verb, body };
    let file = || inner.get_one::<std::path::PathBuf>("file").cloned().unwrap_or_default();
    let verb = match (word, verb_word) {
        ("assets", "upload") => {
            Verb::Upload { file: file(), title: text("title"), recipe: text("recipe"), watch: inner.get_flag("watch") }
        }
        ("assets", "import") => Verb::Import {
            url: text("url")?,
            title: text("title"),
            recipe: text("recipe"),
            watch: inner.get_flag("watch"),
        },
        ("assets", "list") => list("assets", &["state", "text"]),
        ("jobs", "list") => list("jobs", &["state"]),
        ("workers", "list") => list("workers", &[]),
        ("recipes", "list") => list("recipes", &[]),
        ("token", "list") => list("tokens", &[]),
        ("queue", _) => list("queue", &[]),
        ("assets", "show") => Verb::Show { of: "assets", id: id() },
        ("jobs", "show") => Verb::Show { of: "jobs", id: id() },
        ("recipes", "show") => Verb::Show { of: "recipes", id: id() },
        ("assets", "reencode") => act("assets", "reencode", json!({ "recipe": text("recipe") })),
        ("assets", "delete") => Verb::Delete { of: "assets", id: id() },
        ("token", "revoke") => Verb::Delete { of: "tokens", id: id() },
        ("jobs", "watch") => Verb::Watch { job: id() },
        ("jobs", "retry") => act("jobs", "retry", Value::Null),
        ("jobs", "cancel") => act("jobs", "cancel", Value::Null),
        ("jobs", "pause") => act("jobs", "pause", Value::Null),
        ("jobs", "resume") => act("jobs", "resume", Value::Null),
        ("jobs", "prioritise") => {
            act("jobs", "prioritise", json!({ "priority": inner.get_one::<i64>("priority").copied().unwrap_or(0) }))
        }
        ("workers", "cordon") => act("workers", "cordon", json!({ "reason": text("reason") })),
        ("workers", "uncordon") => act("workers", "uncordon", Value::Null),
        ("workers", "drain") => act("workers", "drain", Value::Null),
        ("recipes", "put") => Verb::PutRecipe { name: id(), file: file() },
        ("recipes", "dry-run") => Verb::DryRun { recipe: id(), asset: text("asset")? },
        ("token", "create") => Verb::CreateToken {
            label: text("label")?,
            scopes: inner.get_many::<String>("scopes").into_iter().flatten().cloned().collect(),
            tenant: text("tenant"),
            days: inner.get_one("days").copied(),
        },
        ("clean", _) => Verb::Clean { dry_run: matches.get_flag("dry-run") },
        _ => return None,
    };
    Some((Ask { verb, json: inner.get_flag("json") }, inner))
}

/// Asks the platform and prints the answer.
pub(super) async fn perform(config: &Config, ask: &Ask) -> Result<(), Error> {
    let api = Api::new(config)?;
    let answer = match &ask.verb {
        Verb::Upload { file, title, recipe, watch } => {
            let mut line = Line::new(ask.json);
            let about = About { title: title.as_deref(), recipe: recipe.as_deref() };
            let (_, asset) = Upload::of(&api, file).await?.send(&about, &mut line).await?;
            return made(&api, &asset, *watch, ask.json).await;
        }
        Verb::Import { url, title, recipe, watch } => {
            let body = json!({ "url": url, "title": title, "recipe": recipe });
            let row = api.ask(Method::POST, "assets", &body).await?;
            return made(&api, &cell(&row, "id"), *watch, ask.json).await;
        }
        Verb::Watch { job } => return watch::job(&api, job, ask.json).await,
        Verb::List { of, query } => Value::Array(pages(&api, of, query).await?),
        Verb::Show { of, id } => api.get(&format!("{of}/{id}"), &[]).await?,
        Verb::Do { of, id, verb, body } => api.ask(Method::POST, &format!("{of}/{id}:{verb}"), body).await?,
        Verb::Delete { of, id } => api.ask(Method::DELETE, &format!("{of}/{id}"), &Value::Null).await?,
        Verb::PutRecipe { name, file } => api.ask(Method::PUT, &format!("recipes/{name}"), &recipe_of(file)?).await?,
        Verb::DryRun { recipe, asset } => {
            api.ask(Method::POST, &format!("recipes/{recipe}:dry-run"), &json!({ "asset": asset })).await?
        }
        Verb::CreateToken { label, scopes, tenant, days } => {
            let body = json!({ "label": label, "scopes": scopes, "tenant": tenant, "expires_in_days": days });
            api.ask(Method::POST, "tokens", &body).await?
        }
        Verb::Clean { dry_run } => api.ask(Method::POST, "maintenance:gc", &json!({ "dry_run": dry_run })).await?,
    };
    say(&if ask.json { format!("{answer:#}\n") } else { text_of(&ask.verb, &answer) });
    Ok(())
}

async fn made(api: &Api, asset: &str, watch: bool, json: bool) -> Result<(), Error> {
    if watch {
        watch::asset(api, asset, json).await?;
    }
    let row = api.get(&format!("assets/{asset}"), &[]).await?;
    let page = api.page(&format!("../../app/#/vod/{asset}"));
    say(&match (json, watch) {
        (true, _) => format!("{row:#}\n"),
        (false, true) => format!("{page}\n"),
        (false, false) => format!("{asset}\nwatch it being made: headwater assets show {asset}, or {page}\n"),
    });
    Ok(())
}

async fn pages(api: &Api, of: &str, query: &[(&'static str, String)]) -> Result<Vec<Value>, Error> {
    let mut rows: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    while rows.len() < LISTED_ROWS_MAX {
        let mut query = query.to_vec();
        query.push(("limit", PAGE_ROWS.to_string()));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = api.get(of, &query).await?;
        match page.get("data").and_then(Value::as_array) {
            Some(more) => rows.extend(more.iter().cloned()),
            None => return Err(api.foreign(format!("a page of {of} without data"))),
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    Ok(rows)
}

fn recipe_of(file: &std::path::Path) -> Result<Value, Error> {
    let text = std::fs::read_to_string(file).map_err(|source| Error::File { path: file.to_owned(), source })?;
    let unusable = |error: String| Error::Recipe(format!("{}: {error}", file.display()));
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml::from_str(&text).map_err(|error| unusable(error.to_string())),
        _ => serde_json::from_str(&text).map_err(|error| unusable(error.to_string())),
    }
}

fn text_of(verb: &Verb, answer: &Value) -> String {
    match verb {
        Verb::List { of, .. } => listing(of, answer.as_array().map(Vec::as_slice).unwrap_or_default()),
        Verb::Show { of: "jobs", .. } => job_text(answer),
        Verb::CreateToken { .. } => {
            format!("{}\nkeep it: the secret is shown this once (id {})\n", cell(answer, "secret"), cell(answer, "id"))
        }
        Verb::Clean { dry_run } => {
            let what = if *dry_run { "would go" } else { "gone" };
            let bytes = answer["bytes"].as_u64().unwrap_or(0);
            format!("{} objects, {} {what}\n", cell(answer, "objects"), show::size(bytes))
        }
        Verb::Do { id, verb, .. } => format!("{id}: {verb}: ok\n"),
        Verb::Delete { id, .. } => format!("{id}: gone\n"),
        _ => format!("{answer:#}\n"),
    }
}

fn listing(of: &str, rows: &[Value]) -> String {
    let (heads, paths): (&[&str], &[&str]) = match of {
        "assets" => {
            (&["ASSET", "STATE", "TITLE", "MS", "CREATED"], &["id", "state", "title", "duration_ms", "created"])
        }
        "jobs" => {
            (&["JOB", "STATE", "ASSET", "RECIPE", "CREATED"], &["id", "state", "asset", "recipe.name", "created"])
        }
        "workers" => (
            &["WORKER", "NAME", "CAPS", "CORDONED", "DRAINING", "SEEN"],
            &["id", "name", "caps", "cordoned", "draining", "seen"],
        ),
        "recipes" => (&["RECIPE", "VERSION"], &["name", "version"]),
        "tokens" => {
            (&["TOKEN", "LABEL", "SCOPES", "TENANT", "EXPIRES"], &["id", "label", "scopes", "tenant", "expires"])
        }
        _ => {
            (&["CAP", "CLASS", "READY", "LEASED", "CORE SECONDS"], &["cap", "class", "ready", "leased", "ready_weight"])
        }
    };
    let cells = |row: &Value| paths.iter().map(|path| cell(row, path)).collect();
    table(heads, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn job_text(job: &Value) -> String {
    let mut text = format!("{}  {}  asset {}\n", cell(job, "id"), cell(job, "state"), cell(job, "asset"));
    if !job["error"].is_null() {
        text += &format!("{}\n", cell(job, "error.human"));
    }
    let steps = job["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let cells = |step: &Value| {
        let paths = ["id", "name", "state", "attempt", "worker", "error.human"];
        paths.iter().map(|path| cell(step, path)).collect()
    };
    text + &table(
        &["STEP", "NAME", "STATE", "ATTEMPT", "WORKER", "ERROR"],
        &steps.iter().map(cells).collect::<Vec<_>>(),
    )
}
