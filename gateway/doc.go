// Package gateway serves what a [spec.Gateway] asks for: WireGuard devices, one userspace stack per VPC, endpoint IPs in
// them, zone budgets, and connections to the targets of load balancers.
//
// A [Gateway] applies a spec by difference. What stays the same is not touched: its WireGuard sessions and live
// connections go on. What leaves takes its live connections with it at once. A part that cannot be served, such as a
// tunnel endpoint whose port is taken, does not keep others from being served; its status says why, and it is tried
// again. The last good spec is on disk, so that a restart serves without a control plane.
package gateway
