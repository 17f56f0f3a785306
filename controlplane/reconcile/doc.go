// Package reconcile makes the resources in the store true on the gateway: it compiles them into one
// [spec.Gateway], hands that over, removes what its users have deleted once the gateway has let go of
// it, and tells readers of the API what is in force.
//
// Compiling is a pure function of a snapshot. What the store holds is not trusted: an object that
// cannot be served is left out with a reason, which its reader is shown, and whatever does not depend
// on it is served as before. The result always validates.
package reconcile
