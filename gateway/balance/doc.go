// Package balance chooses the target of a connection and watches the targets' health.
//
// A [Pool] holds the target groups of a gateway and probes their targets as a Network Load Balancer does (AWS, "Health
// checks for Network Load Balancer target groups"). A [Group] answers, without a lock, which target a connection goes
// to. A [Guard] refuses addresses that no tenant may make the gateway connect to, whatever an API accepted before.
//
// The package does no I/O of its own: probes are made by a function of its user's.
package balance
