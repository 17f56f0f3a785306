// Package link joins several WireGuard devices to one gVisor network interface.
//
// A [Link] is the border between tunnels and a domain's userspace TCP/IP stack. Each WireGuard device writes what it
// decrypted into a [Port] and reads from it what it shall encrypt; the stack sees one [stack.LinkEndpoint].
//
// Inbound, a packet is checked in this order, and every refusal is counted by its [Reason]: IPv4 and its header, its
// checksum, martian and host-scoped addresses, fragments, IP options, its size, the TCP header and checksum, and then, for
// whatever could start something (a TCP SYN, a UDP datagram), the verdict of [Config.Admit], for everything else that of the
// [Filter], if there is one. What is left is coalesced per flow and delivered. Always: packets in = delivered + sum of drops by
// reason.
//
// Outbound, a packet that the [Filter] lets pass is queued on the port that holds its destination by longest prefix (see
// [Link.SetRoutes]), and cut to the MSS when the WireGuard device reads it.
package link
