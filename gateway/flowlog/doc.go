// Package flowlog hands on the records of connections that ended: to watchers, through a [Feed], and to a
// rotated [File] in the form of VPC Flow Logs
// (https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html).
//
// Records come from the goroutines that carry the packets, so nothing here makes their giver wait: who cannot
// keep up loses records and learns of it.
package flowlog
