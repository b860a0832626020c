// Package replay judges captures of SMTP offline. An Observer derives from ordinary traffic, between clients and any server,
// who spoke first and when, and from that what each inspect-delay would have done. A Driver feeds the clients' packets to
// the same shard that the live gateway runs, with the capture's clock, and records its answers.
//
// A policy is applied to a capture by trials (trial.go): the shard with the tables of a configuration, model servers, and actors
// that do what the captured clients did as long as this was no answer to the captured banner. A rehearsal (rehearse.go)
// runs several trials side by side, because it compares durations of passes. What came of it is summed up in deeds.go, and
// written in policyreport.go.
//
// Start with Observer.Segment in observe.go; conn.go has what is learnt from each segment, judge.go what follows from it.
// Then read Result.At in result.go. Driver is in drive.go, Tally (what many delays would have done to many senders) in
// tally.go. Run in run.go reads the files, and report.go writes the results.
package replay
