//! docker-compose.yml and .env.example name exactly the settings that the code reads.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use usher::example;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compose() -> Value {
    serde_saphyr::from_str(&read("docker-compose.yml")).expect("docker-compose.yml is YAML")
}

/// The environment of a service, including values from YAML anchors.
fn environment(service: &Value) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut take = |from: &Value| {
        for (name, value) in from.as_object().into_iter().flatten() {
            if name != "<<" {
                let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                settings.entry(name.clone()).or_insert(text);
            }
        }
    };
    take(&service["environment"]);
    take(&service["environment"]["<<"]);
    settings
}

#[test]
fn every_service_gets_the_settings_it_reads_and_no_others() {
    let compose = compose();
    for command in example::commands() {
        let name = command.get_name();
        if name == "usher" {
            continue;
        }
        let given = environment(&compose["services"][name]);
        let known = example::known(&command);
        for setting in given.keys() {
            assert!(known.contains(setting), "{name} does not read {setting}");
        }
        for needed in example::needed(&command) {
            assert!(given.contains_key(&needed), "{name} is not given {needed}");
        }
        let listen = format!("USHER_{}_LISTEN", name.to_uppercase().replace('-', "_"));
        let default = command.get_arguments().find(|a| a.get_env().is_some_and(|e| *e == *listen));
        let default = default.expect("a listen address").get_default_values()[0].to_str().unwrap();
        let port = default.rsplit(':').next().unwrap();
        assert_eq!(given[&listen], format!("0.0.0.0:{port}"), "{name} keeps its port");
        let check = compose["services"][name]["healthcheck"]["test"].to_string();
        assert!(check.contains(&format!(":{port}/healthz")), "{name}: {check}");
        let gateway = read("deploy/gateway/nginx.conf");
        let routed = name == "allocator" || gateway.contains(&format!("{name}:{port}"));
        assert!(routed, "the gateway does not know {name}:{port}");
    }
}

#[test]
fn the_three_backends_are_pinned_and_watched() {
    let compose = compose();
    for name in ["postgres", "redis", "rabbitmq"] {
        let service = &compose["services"][name];
        let image = service["image"].as_str().unwrap();
        let version = image.split_once(':').expect("a pinned version").1;
        assert!(version.split(['.', '-']).count() >= 3, "{image} is not pinned to a patch version");
        assert!(service["healthcheck"]["test"].is_array(), "{name} has no health check");
    }
    let rabbitmq = compose["services"]["rabbitmq"]["image"].as_str().unwrap();
    assert!(rabbitmq.starts_with("rabbitmq:4.") && !rabbitmq.starts_with("rabbitmq:4.3"));
}

#[test]
fn the_gateway_gives_its_idle_connections_up_before_a_service_closes_them() {
    let gateway = read("deploy/gateway/nginx.conf");
    let mut upstreams = gateway.split("upstream ").skip(1).peekable();
    assert!(upstreams.peek().is_some(), "the gateway has upstreams");
    for upstream in upstreams {
        let block = upstream.split('}').next().unwrap();
        let idle = block.split("keepalive_timeout ").nth(1).expect("each says its idle time");
        let seconds: u64 = idle.split('s').next().unwrap().parse().expect("in seconds");
        assert!(seconds < platform::http::HEADERS_WAIT.as_secs(), "{block}");
    }
}

#[test]
fn the_gateway_is_trusted_and_the_services_are_not() {
    let compose = compose();
    let trusted: platform::proxy::TrustedProxy =
        environment(&compose["services"]["ingress"])["USHER_TRUSTED_PROXIES"].parse().unwrap();
    let address = &compose["services"]["gateway"]["networks"]["usher"]["ipv4_address"];
    assert!(trusted.contains(address.as_str().unwrap().parse().unwrap()));
    assert!(!trusted.contains("10.213.77.2".parse().unwrap()), "services may not claim addresses");
}

#[test]
fn no_visitor_comes_by_a_way_on_which_all_have_one_address() {
    let compose = compose();
    let ports = compose["services"]["gateway"]["ports"].as_array().unwrap();
    assert!(ports.iter().all(|port| port.as_str().unwrap().starts_with("0.0.0.0:")), "{ports:?}");
}

#[test]
fn the_example_lists_every_setting() {
    let written = read(".env.example");
    assert_eq!(written, example::text(), "run `usher settings > .env.example`");
}
