//! Forms in which a single resource is shown (`?format=`).
//!
//! Rules: Kuma `pkg/api-server/resource_endpoints.go`, `formatResource`.

use axum::response::Response;
use http::StatusCode;
use tandem_model::Resource;
use tandem_model::rest::{SYSTEM_NAMESPACE, Shown, to_kubernetes_json};

use crate::json;
use crate::problem::Problem;
use crate::query::{first, parameters};

/// A form of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// As it is written, without `format` or with `format=universal`.
    Universal,
    /// As an object of Kubernetes, with `format=k8s` or `format=kubernetes`.
    Kubernetes {
        /// Namespace of objects that have one, from `namespace=`.
        namespace: String,
    },
}

impl Format {
    /// The form that a request asks for.
    ///
    /// # Errors
    /// 400 under `title` for a form that does not exist.
    pub fn read(query: Option<&str>, title: &str) -> Result<Self, Problem> {
        let parameters = parameters(query);
        let given = |name| first(&parameters, name).filter(|value| !value.is_empty());
        match given("format") {
            None | Some("universal") => Ok(Self::Universal),
            Some("k8s" | "kubernetes") => {
                Ok(Self::Kubernetes { namespace: given("namespace").unwrap_or(SYSTEM_NAMESPACE).to_owned() })
            }
            Some(_) => Err(refused(title, r#""format" must be one of ["k8s", "kubernetes", "universal"]"#)),
        }
    }

    /// As [`Format::read`], for what has no other form than the universal one.
    ///
    /// # Errors
    /// 400 under `title` for any other form.
    pub fn only_universal(query: Option<&str>, title: &str) -> Result<(), Problem> {
        match Self::read(query, title)? {
            Self::Universal => Ok(()),
            Self::Kubernetes { .. } => {
                Err(refused(title, r#""format" must be one of ["universal"]: overviews are no objects of Kubernetes"#))
            }
        }
    }

    /// The answer that shows a stored resource in this form.
    ///
    /// # Errors
    /// 500 under `title` when what is stored does not decode.
    pub fn answer(&self, resource: &Resource, title: &str) -> Result<Response, Problem> {
        match self {
            Self::Universal => Ok(json::ok(&Shown(resource))),
            Self::Kubernetes { namespace } => {
                let object = to_kubernetes_json(resource, namespace);
                object.map(|object| json::ok(&object)).map_err(|error| Problem::internal(title, &error))
            }
        }
    }
}

/// Clients know this refusal without a field.
fn refused(title: &str, reason: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, title, "Resource is not valid").with_parameter("", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for query in [None, Some(""), Some("format="), Some("format=universal&namespace=a")] {
            assert_eq!(Format::read(query, "T"), Ok(Format::Universal));
            assert_eq!(Format::only_universal(query, "T"), Ok(()));
        }
        let kubernetes = |namespace: &str| Ok(Format::Kubernetes { namespace: namespace.to_owned() });
        assert_eq!(Format::read(Some("format=k8s"), "T"), kubernetes("kuma-system"));
        assert_eq!(Format::read(Some("format=kubernetes&namespace=a"), "T"), kubernetes("a"));
        assert!(Format::only_universal(Some("format=k8s"), "T").is_err());
        let problem = Format::read(Some("format=K8S"), "T").expect_err("no such form");
        assert_eq!((problem.status, problem.title.as_str()), (StatusCode::BAD_REQUEST, "T"));
        assert_eq!(problem.parameters[0].reason, r#""format" must be one of ["k8s", "kubernetes", "universal"]"#);
    }
}
