// Package filter decides packets by network ACLs and security groups.
//
// Rules are compiled once per change into flat lists that are searched in order without allocating. A list is as long as an ACL
// or a group may be, 40 or 60 rules; searching all of it takes 0.1 to 0.2 µs, a small part of what decrypting a packet does. So
// there is no merged lookup structure to keep right.
//
// The package is pure: what a packet crosses, and in which direction, its caller knows.
package filter
