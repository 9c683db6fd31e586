//! Verbs about config objects, in kubectl's manner: `apply`, `get`, `describe`, `delete`, `diff`,
//! `watch`, `explain`, `why`, `history`, `rollback`.

pub mod files;
mod print;
mod targets;

use std::io;

use narthex_objects::{Kind, UnknownKind};
use narthex_proto::v1::{
    ApplyObjectsRequest, DeleteObjectsRequest, ListObjectsRequest, Object, ObjectHistoryRequest,
    ObjectName, ObjectResult, RollbackObjectRequest, objects_client::ObjectsClient,
};
use narthex_web::Clock;
use serde_json::Value;
use tonic::transport::Channel;

use self::files::FileError;
use crate::{
    client::{self, ClientError},
    flags::{
        ApplyArguments, DeleteArguments, DescribeArguments, DiffArguments, ExplainArguments,
        GetObjectsArguments, HistoryArguments, ObjectFlags, ObjectOutput, RollbackArguments,
        WatchArguments,
    },
    output::{answer, complain},
};

/// A list of all objects may be as large as they may be.
const LIST_BYTES_MAX: usize = 96 << 20;
/// Documents are sent in parts: one request is as large as gRPC takes.
const REQUEST_BYTES_MAX: usize = 3 << 20;

/// Why a verb has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Use a kind there is.
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    /// Use a field there is.
    #[error(transparent)]
    Field(#[from] narthex_objects::Problem),
    /// Name it.
    #[error("want KIND/NAME, or KIND and NAME, got {0:?}")]
    Nameless(String),
    /// Create it, or name another one.
    #[error("there is no {object} in namespace {namespace:?}")]
    NotFound { object: String, namespace: String },
    #[error(transparent)]
    Targets(#[from] targets::TargetsError),
    /// Say what is to be pruned.
    #[error("--prune needs -l LABELS, or --all")]
    PruneWhat,
    /// Make it smaller, or apply it without --prune.
    #[error("what is pruned must fit into one request: {bytes} bytes are more than {max}")]
    PruneSize { bytes: usize, max: usize },
}

impl From<tonic::Status> for ObjectsError {
    fn from(status: tonic::Status) -> Self {
        Self::Client(status.into())
    }
}

impl From<io::Error> for ObjectsError {
    fn from(error: io::Error) -> Self {
        Self::Client(error.into())
    }
}

async fn connect(flags: &ObjectFlags) -> Result<ObjectsClient<Channel>, ObjectsError> {
    let channel = client::connect(&flags.server).await?;
    Ok(ObjectsClient::new(channel).max_decoding_message_size(LIST_BYTES_MAX))
}

/// Kind and name out of `KIND/NAME`, or of a kind and a name behind it.
fn named(kind: &str, name: Option<&str>) -> (String, Option<String>) {
    match (kind.split_once('/'), name) {
        (Some((kind, name)), None) => (kind.to_owned(), Some(name.to_owned())),
        (_, name) => (kind.to_owned(), name.map(str::to_owned)),
    }
}

/// The kinds of a list such as `smon,pmon`; none are all.
fn kinds(list: &str) -> Result<Vec<String>, ObjectsError> {
    if list.eq_ignore_ascii_case("all") {
        return Ok(Vec::new());
    }
    let kinds = list.split(',').filter(|kind| !kind.is_empty());
    let kinds = kinds.map(|kind| Ok(Kind::of_word(kind)?.name().to_owned()));
    kinds.collect()
}

/// Whether every object is as the files say. Called once it is known that they hold objects.
pub async fn apply(arguments: &ApplyArguments) -> Result<bool, ObjectsError> {
    if arguments.prune && arguments.selector.is_empty() && !arguments.all {
        return Err(ObjectsError::PruneWhat);
    }
    let documents = files::read(&arguments.files)?;
    let documents: Vec<String> = documents.iter().map(Value::to_string).collect();
    let mut client = connect(&arguments.objects).await?;
    let bytes = documents.iter().map(String::len).sum();
    if arguments.prune && bytes > REQUEST_BYTES_MAX {
        return Err(ObjectsError::PruneSize { bytes, max: REQUEST_BYTES_MAX });
    }
    let mut all_well = true;
    for documents in parts(documents) {
        let request = ApplyObjectsRequest {
            documents,
            namespace: arguments.objects.namespace.clone(),
            dry_run: arguments.dry_run,
            prune: arguments.prune,
            prune_selector: arguments.selector.clone(),
            note: arguments.note.clone(),
        };
        let results = client.apply(request).await?.into_inner().results;
        all_well &= tell(&results, arguments.dry_run)?;
    }
    Ok(all_well)
}

/// What fits into a request each. What refers to another object comes behind it if files do.
fn parts(documents: Vec<String>) -> Vec<Vec<String>> {
    let mut parts: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for document in documents {
        bytes += document.len();
        match parts.last_mut() {
            Some(part) if bytes <= REQUEST_BYTES_MAX => part.push(document),
            _ => {
                bytes = document.len();
                parts.push(vec![document]);
            }
        }
    }
    parts
}

/// Prints what became of objects; whether none was refused.
fn tell(results: &[ObjectResult], dry_run: bool) -> io::Result<bool> {
    let mut all_well = true;
    for result in results {
        let place = match result.namespace.as_str() {
            "" => result.object.clone(),
            namespace => format!("{} in {namespace}", result.object),
        };
        for note in &result.notes {
            complain(&format!("note: {place}: {note}"));
        }
        if result.outcome == "refused" {
            all_well = false;
            for problem in &result.problems {
                complain(&format!("refused: {place}: {problem}"));
            }
            continue;
        }
        let trial = if dry_run { " (server dry run)" } else { "" };
        answer(&format!("{} {}{trial}", result.object, result.outcome))?;
    }
    Ok(all_well)
}

/// Shows objects; whether there is what was named.
pub async fn get(arguments: &GetObjectsArguments) -> Result<bool, ObjectsError> {
    let (kind, name) = named(&arguments.kind, arguments.name.as_deref());
    let request = ListObjectsRequest {
        kinds: kinds(&kind)?,
        namespace: namespace(&arguments.objects, arguments.all_namespaces),
        name: name.clone().unwrap_or_default(),
        selector: arguments.selector.clone(),
    };
    let mut client = connect(&arguments.objects).await?;
    let listed = match arguments.show_secrets {
        true => client.reveal(request).await?,
        false => client.list(request).await?,
    };
    let objects = listed.into_inner().objects;
    if let (Some(name), true) = (&name, objects.is_empty()) {
        let namespace = arguments.objects.namespace.clone();
        return Err(ObjectsError::NotFound { object: format!("{kind}/{name}"), namespace });
    }
    let is_one = name.is_some() && objects.len() == 1;
    print::objects(&objects, arguments.output, is_one, Clock::system().now())?;
    Ok(true)
}

fn namespace(flags: &ObjectFlags, all: bool) -> String {
    if all { String::new() } else { flags.namespace.clone() }
}

/// Prints all that is known of an object.
pub async fn describe(arguments: &DescribeArguments) -> Result<bool, ObjectsError> {
    let (kind, name) = named(&arguments.kind, arguments.name.as_deref());
    let mut client = connect(&arguments.objects).await?;
    let request = ListObjectsRequest {
        kinds: kinds(&kind)?,
        namespace: arguments.objects.namespace.clone(),
        name: name.clone().unwrap_or_default(),
        selector: String::new(),
    };
    let objects = client.list(request).await?.into_inner().objects;
    if let (Some(name), true) = (&name, objects.is_empty()) {
        let namespace = arguments.objects.namespace.clone();
        return Err(ObjectsError::NotFound { object: format!("{kind}/{name}"), namespace });
    }
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            answer("---")?;
        }
        print::describe(object)?;
    }
    Ok(true)
}

/// Prints what selects an object or why nothing does, its jobs, and how their targets are.
pub async fn why(arguments: &DescribeArguments) -> Result<bool, ObjectsError> {
    let (kind, name) = named(&arguments.kind, arguments.name.as_deref());
    let Some(name) = name else { return Err(ObjectsError::Nameless(kind)) };
    let namespace = arguments.objects.namespace.clone();
    let request = ListObjectsRequest {
        kinds: kinds(&kind)?,
        namespace: namespace.clone(),
        name: name.clone(),
        selector: String::new(),
    };
    let mut client = connect(&arguments.objects).await?;
    let objects = client.list(request).await?.into_inner().objects;
    if objects.is_empty() {
        return Err(ObjectsError::NotFound { object: format!("{kind}/{name}"), namespace });
    }
    for object in &objects {
        answer(&format!("Object:    {}", full_name(object)))?;
        print::facts(object)?;
        for job in &object.jobs {
            print::targets(&targets::of_job(&arguments.objects.server, job).await?)?;
        }
    }
    Ok(true)
}

/// Deletes objects; whether none was refused.
pub async fn delete(arguments: &DeleteArguments) -> Result<bool, ObjectsError> {
    let mut objects = Vec::new();
    if let Some(kind) = &arguments.kind {
        let (kind, first) = named(kind, None);
        let kind_name = Kind::of_word(&kind)?.name();
        for name in first.iter().chain(&arguments.names) {
            objects.push(ObjectName {
                kind: kind_name.to_owned(),
                namespace: arguments.objects.namespace.clone(),
                name: name.clone(),
            });
        }
        if objects.is_empty() {
            return Err(ObjectsError::Nameless(kind));
        }
    }
    for document in files::read(&arguments.files)? {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let namespace = match text(&document["metadata"]["namespace"]) {
            named if named.is_empty() => arguments.objects.namespace.clone(),
            named => named,
        };
        let (kind, name) = (text(&document["kind"]), text(&document["metadata"]["name"]));
        objects.push(ObjectName { kind, namespace, name });
    }
    let mut client = connect(&arguments.objects).await?;
    let dry_run = arguments.dry_run;
    let request = DeleteObjectsRequest { objects, dry_run, note: String::new() };
    let results = client.delete(request).await?.into_inner().results;
    Ok(tell(&results, dry_run)?)
}

/// Prints what applying files would change; whether nothing would.
pub async fn diff(arguments: &DiffArguments) -> Result<bool, ObjectsError> {
    let documents = files::read(&arguments.files)?;
    let documents: Vec<String> = documents.iter().map(Value::to_string).collect();
    let mut client = connect(&arguments.objects).await?;
    let mut is_same = true;
    for documents in parts(documents) {
        let request = ApplyObjectsRequest {
            documents,
            namespace: arguments.objects.namespace.clone(),
            dry_run: true,
            ..ApplyObjectsRequest::default()
        };
        for result in client.apply(request).await?.into_inner().results {
            if result.outcome == "refused" {
                is_same &= tell(std::slice::from_ref(&result), true)?;
            } else if result.outcome != "unchanged" {
                is_same = false;
                print::difference(&result)?;
            }
        }
    }
    Ok(is_same)
}

/// Prints objects as they are, and then their changes, until it is ended.
pub async fn watch(arguments: &WatchArguments) -> Result<(), ObjectsError> {
    let (kind, name) = named(&arguments.kind, arguments.name.as_deref());
    let mut client = connect(&arguments.objects).await?;
    let request = ListObjectsRequest {
        kinds: kinds(&kind)?,
        namespace: namespace(&arguments.objects, arguments.all_namespaces),
        name: name.unwrap_or_default(),
        selector: String::new(),
    };
    let mut events = client.watch(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        let object = event.object.unwrap_or_default();
        match arguments.output {
            ObjectOutput::Json => {
                let value = print::value(&object);
                answer(&serde_json::json!({ "type": event.r#type, "object": value }).to_string())?;
            }
            ObjectOutput::Yaml => {
                answer(&format!("---\n# {}", event.r#type))?;
                answer(print::yaml(&print::value(&object)).trim_end())?;
            }
            ObjectOutput::Table | ObjectOutput::Name => {
                answer(&format!("{:<9} {}", event.r#type, full_name(&object)))?;
            }
        }
    }
    Ok(())
}

/// Kind, namespace and name in one word.
fn full_name(object: &Object) -> String {
    let kind = Kind::of_word(&object.kind).map(|kind| kind.object_name(&object.name));
    let name = kind.unwrap_or_else(|_| format!("{}/{}", object.kind, object.name));
    match object.namespace.as_str() {
        "" => name,
        namespace => format!("{name} ({namespace})"),
    }
}

/// Prints what a field may hold. Asks no cluster.
pub fn explain(arguments: &ExplainArguments) -> Result<(), ObjectsError> {
    let (kind, path) = arguments.field.split_once('.').unwrap_or((&arguments.field, ""));
    let kind = Kind::of_word(kind)?;
    print::explained(kind, &narthex_objects::explain(kind, path)?)?;
    Ok(())
}

/// Prints what was changed.
pub async fn history(arguments: &HistoryArguments) -> Result<(), ObjectsError> {
    let given = arguments.kind.as_deref().unwrap_or_default();
    let (kind, name) = named(given, arguments.name.as_deref());
    let mut client = connect(&arguments.objects).await?;
    let request = ObjectHistoryRequest {
        kind: match kind.as_str() {
            "" => kind,
            kind => Kind::of_word(kind)?.name().to_owned(),
        },
        namespace: namespace(&arguments.objects, arguments.all_namespaces),
        name: name.unwrap_or_default(),
    };
    let history = client.history(request).await?.into_inner();
    print::history(&history.revisions)?;
    Ok(())
}

/// Brings an object back; whether that was not refused.
pub async fn rollback(arguments: &RollbackArguments) -> Result<bool, ObjectsError> {
    let (kind, name) = named(&arguments.object, None);
    let Some(name) = name else { return Err(ObjectsError::Nameless(kind)) };
    let object = ObjectName {
        kind: Kind::of_word(&kind)?.name().to_owned(),
        namespace: arguments.objects.namespace.clone(),
        name,
    };
    let mut client = connect(&arguments.objects).await?;
    let (revision, dry_run) = (arguments.to_revision, arguments.dry_run);
    let request = RollbackObjectRequest { object: Some(object), revision, dry_run };
    let results = client.rollback(request).await?.into_inner().results;
    Ok(tell(&results, dry_run)?)
}
