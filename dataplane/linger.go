package dataplane

// linger tells the end of a splice and keeps its record for a while: the last ACK may be lost, and segments that are
// still on their way must not meet an RST of ours. After an RST nobody repeats anything, and the time is short.
func (s *Shard) linger(id uint32, f *flow, x *splice, reset Cause) {
	cause := CauseFinished
	wait := s.waits.linger
	if x.track.Client.RST || x.track.Server.RST {
		cause, wait = reset, s.waits.lingerReset
	}
	s.close(f, cause)
	s.enter(f, PhaseLingering)
	s.push(id, wait)
}
