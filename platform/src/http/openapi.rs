//! What the descriptions of all services have in common.

use contract::api::{
    BASE,
    problem::{Code, FieldError, Problem},
};
use utoipa::{
    Modify, OpenApi as _,
    openapi::{
        Content, Header, ObjectBuilder, OpenApi, Ref, RefOr, Response,
        link::Link,
        path::{Operation, Parameter, PathItem},
        schema::Type,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Usher",
        description = "Sells seats when everybody comes at once: a fair line, and every booking \
            decided exactly once. Errors are RFC 9457 problems with a stable `code`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(Problem, FieldError, Code)),
    modifiers(&Bearer),
)]
struct Root;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Adds to every call what is the same for all: an operation id, the answers to requests that do
/// not reach the handler, the shape of errors, the form of `Idempotency-Key`, and links to the
/// calls that use what it makes.
#[must_use]
pub(super) fn completed(services: OpenApi) -> OpenApi {
    let mut document = Root::openapi();
    document.merge(services);
    let links = links(&document);
    for (path, item) in &mut document.paths.paths {
        let Some(path) = path.strip_prefix(BASE) else { continue };
        for (method, operation) in operations(item) {
            operation.operation_id = Some(name(method, path));
            describe_key(operation);
            describe_common(operation);
            for codes in common_refusals(operation) {
                let status = codes[0].status().as_str().to_owned();
                let words: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
                let refusal = || RefOr::T(Response::new(words.join(", ")));
                operation.responses.responses.entry(status).or_insert_with(refusal);
            }
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                match status.as_bytes()[0] {
                    b'4' | b'5' => shape(status, response),
                    b'2' if method == "post" => {
                        let made = links.iter().filter(|(maker, ..)| maker == path);
                        response
                            .links
                            .extend(made.map(|(_, name, link)| (name.clone(), link.clone())));
                    }
                    _ => {}
                }
            }
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    let methods =
        [("get", get), ("put", put), ("post", post), ("delete", delete), ("patch", patch)];
    methods.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// An operation id, such as `post_shows_id_open`.
fn name(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |name, word| name + "_" + word)
}

/// Links from the call that makes a thing to the calls that use it: `POST /things` makes what is
/// used at and below `/things/{id}`, by the `thingId` of its answer.
fn links(document: &OpenApi) -> Vec<(String, String, RefOr<Link>)> {
    let mut links = Vec::new();
    for (path, item) in &document.paths.paths {
        let Some(path) = path.strip_prefix(BASE) else { continue };
        let Some((maker, _)) = path.split_once("s/{id}") else { continue };
        let id = format!("$response.body#/{}Id", camel_case(maker));
        let mut item = item.clone();
        for (method, _) in operations(&mut item) {
            let name = name(method, path);
            let link = Link::builder().operation_id(name.clone()).parameter("id", &*id).build();
            links.push((format!("{maker}s"), name, RefOr::T(link)));
        }
    }
    links
}

/// The last word of a path, as fields of answers are named.
fn camel_case(path: &str) -> String {
    let mut words = path.rsplit('/').next().unwrap_or(path).split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(1.min(word.len()));
        name + &initial.to_ascii_uppercase() + rest
    })
}

/// The codes with which calls of this kind are refused, by status.
fn common_refusals(operation: &Operation) -> impl Iterator<Item = &'static [Code]> + use<> {
    let has_body = operation.request_body.is_some();
    let parameters = operation.parameters.iter().flatten();
    let has_key = parameters.clone().any(is_key);
    let is_read = has_body || parameters.count() > 0;
    let is_admins = operation.tags.iter().flatten().any(|tag| tag == "administration");
    // Only ingress takes API keys.
    let takes_keys = operation
        .tags
        .iter()
        .flatten()
        .any(|tag| matches!(tag.as_str(), "accounts" | "bookings" | "orders"));
    let is_secured = operation.security.as_ref().is_some_and(|some| !some.is_empty());
    [
        (is_read, &[Code::ValidationFailed, Code::MalformedJson, Code::BadRequest] as &[_]),
        (is_secured, &[Code::Unauthenticated]),
        (is_admins, &[Code::Forbidden, Code::ScopeMissing, Code::SecondFactorNeeded]),
        (is_secured && takes_keys, &[Code::ScopeMissing]),
        (has_body, &[Code::Timeout]),
        (has_body, &[Code::BodyTooLarge]),
        (has_body, &[Code::UnsupportedMediaType]),
        (has_key, &[Code::IdempotencyKeyReused]),
        (true, &[Code::RateLimited]),
        (true, &[Code::DatabaseUnavailable]),
    ]
    .into_iter()
    .filter_map(|(applies, codes)| applies.then_some(codes))
}

/// Every error is a problem; 429 and 503 say when to come back.
fn shape(status: &str, response: &mut Response) {
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    response.content.clear();
    response.content.insert("application/problem+json".into(), problem.into());
    if matches!(status, "429" | "503") {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        response.headers.insert("Retry-After".into(), Header::new(seconds).into());
    }
}

fn is_key(parameter: &RefOr<Parameter>) -> bool {
    matches!(parameter, RefOr::T(parameter) if parameter.name == "Idempotency-Key")
}

fn describe_key(operation: &mut Operation) {
    let parameters = operation.parameters.iter_mut().flatten();
    for parameter in parameters.filter(|parameter| is_key(parameter)) {
        if let RefOr::T(parameter) = parameter {
            let key = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]{1,64}$"));
            parameter.schema = Some(key.build().into());
        }
    }
}

/// What headers and parameters mean that several calls take.
const COMMON: [(&str, &str); 5] = [
    ("Idempotency-Key", "the same key with the same request gives the same answer, done once"),
    ("placeTicket", "the place ticket, where the client cannot set the header"),
    ("Place-Ticket", "the place ticket, as the answer to joining gave it"),
    ("Challenge-Solution", "the work that this line asks for, where it asks for one"),
    ("Sec-WebSocket-Protocol", "`usher.v1`, and as credential `place-ticket.<t>`"),
];

fn describe_common(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        let known = COMMON.iter().find(|(name, _)| *name == parameter.name);
        if let (None, Some((_, meaning))) = (&parameter.description, known) {
            parameter.description = Some((*meaning).to_owned());
        }
    }
}
