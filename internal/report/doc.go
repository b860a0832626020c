// Package report makes a page for mail administrators from logs of connections, or from captures: verdicts by hour, networks,
// signatures, what the delay did, offenders, rules and DNS lists, servers' downtime, and who gave up while waiting. It knows records,
// and nothing of the lines that they come from; captures are judged by package replay.
//
// Its memory is bounded: networks, names and hours beyond a limit are counted together. Whatever records say is text in each form of the
// page, without control characters.
//
// Start with Report in collect.go; files.go says what is read.
package report
