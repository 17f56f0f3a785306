package dnsname

import "net/netip"

// Server gives the address of a VPC's DNS server, the one after the first two of its range, as in AWS. It is
// reserved in the subnet that has it: https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html
func Server(vpc netip.Prefix) netip.Addr { return vpc.Addr().Next().Next() }
