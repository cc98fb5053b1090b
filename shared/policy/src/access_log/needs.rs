//! What logs need to know of the proxy that writes them.

use super::connection::{HTTP_FORMAT, tells_address, tells_service};
use super::schema::{Backend, BackendType, Conf, Format};
use crate::endpoint::Endpoint;
use crate::policy::Policy;
use crate::validation::list;

/// What logs need to know of the proxy that writes them: with the less, the more proxies can share their listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Its service.
    pub service: bool,
    /// Its address.
    pub address: bool,
    /// The pipe of its kuma-dp.
    pub pipe: bool,
    /// Clusters of OpenTelemetry collectors.
    pub collectors: bool,
}

impl Conf {
    /// The OpenTelemetry collectors it names, as it writes them.
    pub fn collectors(&self) -> impl Iterator<Item = &str> {
        let of_type = list(&self.backends).iter().filter(|backend| backend.kind == BackendType::OpenTelemetry);
        of_type.filter_map(|backend| backend.open_telemetry.as_ref()).map(|backend| backend.endpoint.as_str())
    }
}

/// What a policy says about collectors that makes no sense, for a person.
pub(crate) fn unusable(policy: &Policy) -> Vec<String> {
    let items = [&policy.to, &policy.from, &policy.rules].into_iter().flatten();
    let confs: Vec<Conf> = items.filter_map(|item| serde_json::from_value(item.conf.clone()).ok()).collect();
    let checked = confs.iter().flat_map(Conf::collectors).map(Endpoint::open_telemetry);
    checked.filter_map(|checked| checked.err().map(|reason| format!("openTelemetry.endpoint {reason}"))).collect()
}

impl Needs {
    /// What the logs of all of these need; `None` when there are none.
    pub fn of<'a>(confs: impl IntoIterator<Item = &'a Conf>) -> Option<Self> {
        let mut needs = None;
        for backend in confs.into_iter().flat_map(|conf| list(&conf.backends)) {
            needs.get_or_insert_with(Self::default).add(backend);
        }
        needs
    }

    fn add(&mut self, backend: &Backend) {
        match backend.kind {
            BackendType::File => self.add_format(backend.file.as_ref().and_then(|file| file.format.as_ref())),
            BackendType::Tcp => {
                self.pipe = true;
                self.add_format(backend.tcp.as_ref().and_then(|tcp| tcp.format.as_ref()));
            }
            BackendType::OpenTelemetry => {
                self.collectors = true;
                match backend.open_telemetry.as_ref().and_then(|backend| backend.body.as_ref()) {
                    // An object that is no value of OpenTelemetry stands for the default.
                    Some(body) if !body.is_object() => self.add_text(&body.to_string()),
                    Some(body) if super::any_value::parse(body).is_ok_and(|body| body.value.is_some()) => {
                        self.add_text(&body.to_string());
                    }
                    _ => self.add_text(HTTP_FORMAT),
                }
            }
        }
    }

    fn add_format(&mut self, format: Option<&Format>) {
        // Both defaults tell all that there is to tell.
        let Some(format) = format else { return self.add_text(HTTP_FORMAT) };
        format.plain.iter().for_each(|text| self.add_text(text));
        list(&format.json).iter().for_each(|member| self.add_text(&member.value));
    }

    fn add_text(&mut self, text: &str) {
        self.service |= tells_service(text);
        self.address |= tells_address(text);
    }
}
