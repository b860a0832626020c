package explain

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/logread"
)

// Logs reads what logs say of the clients of a network. What can be read is in the answer also if there is an error.
func Logs(files []string, who netip.Prefix, most int, now time.Time) (v admin.Explanation, failed error) {
	v = admin.Explanation{
		Client: who.String(), Verdicts: map[string]uint64{}, Connections: []admin.PastConnection{}, Next: []admin.Outlook{}, Lists: []string{},
		Passes: []admin.Pass{}, Offenders: []admin.Offender{}, Clients: []admin.ClientUsage{},
	}
	if who.IsSingleIP() {
		v.Client = who.Addr().String()
	}
	r := logread.Reader{Now: now, Zone: time.Local}
	take := func(rec *logread.Record) {
		if rec.Kind != logread.Connection {
			return
		}
		v.Remembered.Connections++
		if !rec.At.IsZero() && (v.Remembered.Since == nil || rec.At.Before(*v.Remembered.Since)) {
			v.Remembered.Since = &rec.At
		}
		if !who.Contains(rec.Client.Unmap()) {
			return
		}
		v.Verdicts[rec.Verdict]++
		v.Connections = append(v.Connections, logged(rec))
		if len(v.Connections) > 2*most {
			v.Connections = latest(v.Connections, most)
		}
	}
	for _, file := range files {
		failed = errors.Join(failed, r.File(file, take))
	}
	r.End(take)
	v.Connections = latest(v.Connections, most)
	return v, failed
}

// latest returns the latest connections, the latest first.
func latest(list []admin.PastConnection, most int) []admin.PastConnection {
	slices.SortStableFunc(list, func(a, b admin.PastConnection) int { return b.Connection.Time.Compare(a.Connection.Time) })
	return list[:min(len(list), most)]
}

// logged describes a connection as a log has it.
func logged(rec *logread.Record) admin.PastConnection {
	ms := func(d time.Duration) *int64 {
		if d < 0 {
			return nil
		}
		n := d.Milliseconds()
		return &n
	}
	return admin.PastConnection{
		Connection: admin.Verdict{
			Time: rec.At, Client: rec.Client.Unmap().String(), ClientPort: int(rec.Port), Frontend: rec.Frontend, Backend: rec.Backend, Server: rec.Server,
			Verdict: rec.Verdict, Rule: rec.Rule, Signature: rec.Signature, HeldMs: ms(rec.Held), FirstByteMs: ms(rec.FirstOctet), Talk: rec.Talk,
		},
		DNSLists: []string{}, Lines: []string{rec.Line},
	}
}
