// Package replay judges captures of SMTP offline. An Observer derives from ordinary traffic, between clients and any server,
// who spoke first and when, and from that what each inspect-delay would have done. A Driver feeds the clients' packets to
// the same shard that the live gateway runs, with the capture's clock, and records its answers.
//
// Start with Observer.Segment in observe.go; conn.go has what is learnt from each segment, judge.go what follows from it.
// Then read Result.At in result.go. Driver is in drive.go, Tally (what many delays would have done to many senders) in
// tally.go. Run in run.go reads the files, and report.go writes the results.
package replay
