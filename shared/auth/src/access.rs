//! Users of the HTTP API and what they may do.
//!
//! Source of names, rules and texts: Kuma `pkg/core/user`, `pkg/core/access`, `pkg/core/resources/access`.

use std::fmt;

use tandem_runtime::config::{Allowed, StaticAccess};

const ADMIN: &str = "mesh-system:admin";
const ANONYMOUS: &str = "mesh-system:anonymous";
const CONTROL_PLANE: &str = "mesh-system:control-plane";
const AUTHENTICATED: &str = "mesh-system:authenticated";
const UNAUTHENTICATED: &str = "mesh-system:unauthenticated";

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Groups the user is in.
    pub groups: Vec<String>,
}

impl User {
    /// A user of which nothing is known.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()] }
    }

    /// The administrator, as the claims of its token say.
    pub fn admin() -> Self {
        Self { name: ADMIN.to_owned(), groups: vec![ADMIN.to_owned()] }
    }

    /// The control plane itself.
    pub fn control_plane() -> Self {
        Self { name: CONTROL_PLANE.to_owned(), groups: Vec::new() }
    }

    /// The user after it has proved who it is: one group more.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        if !self.groups.iter().any(|group| group == AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// True when nothing is known of the user.
    pub fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS
    }
}

/// Prints as in messages: `name/group,group`.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.groups.join(","))
    }
}

/// The user may not do what was asked; the text says what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(String);

/// Rules for who may do what. What is not listed here, everybody may.
#[derive(Debug, Clone)]
pub struct AccessRules {
    rules: StaticAccess,
}

impl AccessRules {
    /// The rules of a configuration.
    pub fn new(rules: StaticAccess) -> Self {
        Self { rules }
    }

    /// Read or write resources of a type that is for administrators.
    ///
    /// # Errors
    /// When the user may not.
    pub fn admin_resource(&self, user: &User, resource_type: &str) -> Result<(), Denied> {
        check(&self.rules.admin_resources, user, &format!("the resource of type {resource_type:?}"))
    }

    /// Issue a dataplane token.
    ///
    /// # Errors
    /// When the user may not.
    pub fn dataplane_token(&self, user: &User) -> Result<(), Denied> {
        check(&self.rules.generate_dp_token, user, "generate dataplane token")
    }

    /// Issue a zone token.
    ///
    /// # Errors
    /// When the user may not.
    pub fn zone_token(&self, user: &User, zone: &str) -> Result<(), Denied> {
        check(&self.rules.generate_zone_token, user, &format!("generate zone token for zone '{zone}'"))
    }

    /// Issue a user token.
    ///
    /// # Errors
    /// When the user may not.
    pub fn user_token(&self, user: &User) -> Result<(), Denied> {
        if is_allowed(&self.rules.generate_user_token, user) {
            Ok(())
        } else {
            Err(Denied("action not allowed".into()))
        }
    }

    /// See the configuration of an Envoy.
    ///
    /// # Errors
    /// When the user may not.
    pub fn config_dump(&self, user: &User) -> Result<(), Denied> {
        check(&self.rules.view_config_dump, user, "envoy proxy info")
    }

    /// See the statistics of an Envoy.
    ///
    /// # Errors
    /// When the user may not.
    pub fn stats(&self, user: &User) -> Result<(), Denied> {
        check(&self.rules.view_stats, user, "envoy proxy info")
    }

    /// See the clusters of an Envoy.
    ///
    /// # Errors
    /// When the user may not.
    pub fn clusters(&self, user: &User) -> Result<(), Denied> {
        check(&self.rules.view_clusters, user, "envoy proxy info")
    }

    /// See the configuration of the control plane.
    ///
    /// # Errors
    /// When the user may not.
    pub fn control_plane_metadata(&self, user: &User) -> Result<(), Denied> {
        check(&self.rules.control_plane_metadata, user, "control-plane metadata")
    }
}

/// The rules of an empty configuration, as Kuma has them.
impl Default for AccessRules {
    fn default() -> Self {
        let admin = Allowed { users: vec![ADMIN.into()], groups: vec![ADMIN.into()] };
        let all = Allowed { users: Vec::new(), groups: vec![UNAUTHENTICATED.into(), AUTHENTICATED.into()] };
        Self::new(StaticAccess {
            admin_resources: admin.clone(),
            generate_dp_token: admin.clone(),
            generate_user_token: admin.clone(),
            generate_zone_token: admin,
            view_config_dump: all.clone(),
            view_stats: all.clone(),
            view_clusters: all.clone(),
            control_plane_metadata: all,
        })
    }
}

fn is_allowed(allowed: &Allowed, user: &User) -> bool {
    allowed.users.contains(&user.name) || user.groups.iter().any(|group| allowed.groups.contains(group))
}

fn check(allowed: &Allowed, user: &User, what: &str) -> Result<(), Denied> {
    if is_allowed(allowed, user) {
        return Ok(());
    }
    Err(Denied(format!("user {:?} cannot access {what}", user.to_string())))
}

#[cfg(test)]
mod tests {
    use tandem_runtime::config::{Role, load};

    use super::*;

    #[test]
    fn default_rules_are_those_of_the_configuration() {
        let loaded = load(Role::Zone, None, [("HOME".to_owned(), "/h".to_owned())], &[]).expect("defaults are valid");
        let (configured, built) = (loaded.config.access.r#static, AccessRules::default().rules);
        assert_eq!(format!("{configured:?}"), format!("{built:?}"));
    }

    #[test]
    fn only_the_administrator_may_do_what_is_protected() {
        let rules = AccessRules::default();
        let (anonymous, admin) = (User::anonymous(), User::admin().authenticated());
        rules.admin_resource(&admin, "Secret").expect("allowed");
        rules.user_token(&admin).expect("allowed");
        rules.control_plane_metadata(&anonymous).expect("allowed");
        rules.config_dump(&anonymous).expect("allowed");
        let who = r#"user "mesh-system:anonymous/mesh-system:unauthenticated" cannot access"#;
        for (result, text) in [
            (rules.admin_resource(&anonymous, "GlobalSecret"), format!(r#"{who} the resource of type "GlobalSecret""#)),
            (rules.dataplane_token(&anonymous), format!("{who} generate dataplane token")),
            (rules.zone_token(&anonymous, "z"), format!("{who} generate zone token for zone 'z'")),
            (rules.user_token(&anonymous), "action not allowed".to_owned()),
        ] {
            assert_eq!(result.expect_err("denied").to_string(), text);
        }
    }

    #[test]
    fn groups_count() {
        let mut config = AccessRules::default().rules;
        config.generate_dp_token = Allowed { users: vec!["ann".into()], groups: vec!["ops".into()] };
        let rules = AccessRules::new(config);
        let user = |name: &str, group: &str| User { name: name.into(), groups: vec![group.into()] };
        assert!(rules.dataplane_token(&user("ann", "x")).is_ok());
        assert!(rules.dataplane_token(&user("bob", "ops")).is_ok());
        assert!(rules.dataplane_token(&user("bob", "x")).is_err());
    }
}
