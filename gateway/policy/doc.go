// Package policy reads endpoint policies and decides connections by them. It is pure: nothing in it looks at
// a clock, a file or the network.
//
// The language is that of AWS endpoint policies
// (https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html), in the grammar of IAM
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html). A gateway sees
// connections, not requests: what a statement about requests means for the connection that carries them is
// said in docs/policies.md, and whatever could not be enforced is refused when the policy is written.
package policy
