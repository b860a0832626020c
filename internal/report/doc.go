// Package report makes a page for mail administrators from logs of connections: verdicts by hour, networks, signatures, what the
// delay did, servers' downtime, and who gave up while waiting. It knows records, and nothing of the lines that they come from.
//
// Its memory is bounded: networks, signatures and hours beyond a limit are counted together.
package report
