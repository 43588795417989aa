//! The names to ask the cluster for. Pure.
//!
//! In a pod, the C library appends the pod's search domains to short names; here, it appends this machine's. So names
//! arrive with the wrong domain, or none: the cluster is asked with the pod's domains.

use hickory_proto::rr::Name;

/// How names are searched: in the target's pod, and on this machine (resolv.conf(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The pod's: "shop.svc.cluster.local", "svc.cluster.local", "cluster.local" …
    domains: Vec<Name>,
    /// Names with fewer dots are searched.
    ndots: usize,
    /// The domains that this machine appends.
    appended: Vec<Name>,
    /// Only the cluster is asked for names in these domains,
    also: Vec<Name>,
    /// and never for names in these.
    not: Vec<Name>,
}

impl Search {
    /// From the texts of both resolv.conf files.
    pub fn of(pod: &str, laptop: &str) -> Self {
        Self {
            domains: search(pod),
            ndots: ndots(pod),
            appended: search(laptop),
            also: Vec::new(),
            not: Vec::new(),
        }
    }

    /// Adds domains that count as the cluster's, and some that do not.
    pub fn with(self, also: Vec<Name>, not: Vec<Name>) -> Self {
        Self { also, not, ..self }
    }

    /// The cluster's own zone: "cluster.local".
    pub fn zone(&self) -> Option<&Name> {
        let svc = |zone: &&Name| {
            let services = Name::from_ascii("svc.").ok().and_then(|svc| svc.append_domain(zone).ok());
            services.is_some_and(|services| self.domains.contains(&services))
        };
        self.domains.iter().find(svc)
    }

    /// Whether only the cluster is asked.
    pub fn is_the_cluster_s(&self, name: &Name) -> bool {
        let within = |domains: &[Name]| domains.iter().any(|domain| domain.zone_of(name));
        !within(&self.not) && (within(&self.also) || self.zone().is_some_and(|zone| zone.zone_of(name)))
    }

    /// The names to ask the cluster for, in order of precedence.
    pub fn candidates(&self, name: &Name) -> Vec<Name> {
        if self.is_the_cluster_s(name) {
            return vec![name.clone()];
        }
        if name.is_root() || name.is_localhost() || self.not.iter().any(|domain| domain.zone_of(name)) {
            return Vec::new();
        }
        let appended = self.appended.iter().filter(|domain| domain.zone_of(name) && *domain != name);
        let stripped = appended.map(|domain| {
            let labels = usize::from(name.num_labels() - domain.num_labels());
            Name::from_labels(name.iter().take(labels)).unwrap_or_else(|_| name.clone())
        });
        let mut candidates = Vec::new();
        for short in stripped.chain([name.clone()]) {
            if self.is_the_cluster_s(&short) {
                candidates.push(short);
            } else if usize::from(short.num_labels()) <= self.ndots {
                let searched =
                    self.domains.iter().filter_map(|domain| short.clone().append_domain(domain).ok());
                candidates.extend(searched);
            }
        }
        let mut seen = Vec::new();
        candidates.retain(|candidate| {
            let new = !seen.contains(candidate);
            seen.push(candidate.clone());
            new
        });
        candidates
    }
}

/// The last `search` or `domain` line counts.
fn search(conf: &str) -> Vec<Name> {
    let mut lines = conf.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let last = lines.rfind(|words| matches!(words.first(), Some(&("search" | "domain"))));
    let domains = last.unwrap_or_default().into_iter().skip(1);
    domains
        .filter_map(|domain| Name::from_ascii(domain).ok())
        .filter(|domain| !domain.is_root())
        .map(|mut domain| {
            domain.set_fqdn(true);
            domain.to_lowercase()
        })
        .collect()
}

fn ndots(conf: &str) -> usize {
    let options = conf.lines().filter_map(|line| line.trim().strip_prefix("options"));
    let mut ndots =
        options.flat_map(str::split_whitespace).filter_map(|option| option.strip_prefix("ndots:"));
    // libc's default, and its maximum.
    ndots.next_back().and_then(|number| number.parse().ok()).unwrap_or(1).min(15)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";

    fn candidates(laptop: &str, name: &str) -> Vec<String> {
        let search = Search::of(POD, laptop);
        search.candidates(&Name::from_ascii(name).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn short_names_are_searched_as_in_the_pod() {
        let orders = ["orders.shop.svc.cluster.local.", "orders.svc.cluster.local.", "orders.cluster.local."];
        assert_eq!(candidates("", "orders."), orders);
        assert_eq!(candidates("nameserver 1.1.1.1", "Orders.shop.svc.")[2], "Orders.shop.svc.cluster.local.");
        assert_eq!(candidates("", "orders.shop.svc.Cluster.local."), ["orders.shop.svc.Cluster.local."]);
        assert_eq!(candidates("", "a.b.c.d.e.f."), Vec::<String>::new(), "as many dots as ndots");
        assert_eq!(candidates("", "localhost."), Vec::<String>::new());
    }

    #[test]
    fn domains_that_this_machine_appends_are_removed() {
        let laptop = "search lan corp.example\n";
        assert_eq!(candidates(laptop, "orders.lan.")[0], "orders.shop.svc.cluster.local.");
        assert_eq!(candidates(laptop, "orders.corp.example.")[0], "orders.shop.svc.cluster.local.");
        assert_eq!(
            candidates(laptop, "orders.shop.svc.cluster.local.lan.")[0],
            "orders.shop.svc.cluster.local."
        );
        assert_eq!(candidates(laptop, "corp.example.")[0], "corp.example.shop.svc.cluster.local.");
    }

    #[test]
    fn the_user_knows_better() {
        let domain = |text: &str| vec![Name::from_ascii(text).unwrap()];
        let search = Search::of(POD, "").with(domain("corp.example."), domain("prices.shop."));
        let candidates = |name: &str| search.candidates(&Name::from_ascii(name).unwrap());
        assert_eq!(candidates("db.corp.example."), domain("db.corp.example."));
        assert_eq!(candidates("prices.shop."), []);
    }

    #[test]
    fn the_zone_is_the_one_that_services_are_in() {
        let search = Search::of(POD, "");
        assert_eq!(search.zone().unwrap().to_string(), "cluster.local.");
        let own = Search::of("search shop.svc.k8s.corp svc.k8s.corp k8s.corp corp\noptions ndots:5", "");
        assert_eq!(own.zone().unwrap().to_string(), "k8s.corp.");
        assert_eq!(Search::of("nameserver 1.1.1.1", "").zone(), None);
    }
}
