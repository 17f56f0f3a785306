// Package domain runs the userspace TCP/IP stack of one VPC. It is the only package that configures gVisor.
//
// A [Domain] is one stack with one network interface, on a [link.Link] that the VPC's WireGuard devices lead into. The
// addresses of its exposures and load balancer nodes are added one by one; there is no forwarding, no promiscuous mode, no
// spoofing and no local delivery, so nothing that was not put in by name can be reached, and no way leads from one domain
// into another.
//
// Whether a connection may begin is decided before the stack sees its first packet, from a [Table] that is
// replaced whole: peer, exposure, port, available target. Out of the domain, connections start only from
// addresses of nodes and only towards prefixes that one of the domain's peers holds.
package domain
