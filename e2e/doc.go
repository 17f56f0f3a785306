// Package e2e holds the stories that users of Causeway live through, told with stock WireGuard
// clients, real servers and the built daemon in network namespaces. They need root.
package e2e
