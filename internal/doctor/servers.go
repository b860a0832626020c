package doctor

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/health"
	"hushgate/internal/plan"
)

const (
	serversPatience = 20 * time.Second // for all servers
	serversAtOnce   = 32
	// postscreenWait is how long postscreen holds a client back (postscreen_greet_wait, 6 s), less what a busy machine may add.
	postscreenWait = 5 * time.Second
)

// servers checks each server once, as the gateway does, and looks at what it offers.
func servers(ctx context.Context, s *Site) (list []Finding) {
	ctx, cancel := context.WithTimeout(ctx, serversPatience)
	defer cancel()
	checks := s.Plan.Tables.Checks
	results := make([]health.Result, len(checks))
	var group errgroup.Group
	group.SetLimit(serversAtOnce)
	for i := range checks {
		group.Go(func() error {
			c := checks[i].Config
			c.Timeout = min(c.Timeout, serversPatience/2)
			results[i] = health.Check(ctx, &c, plan.Dialer(&s.Plan.Tables.Shard.Servers[checks[i].ServerID]), health.Beyond{Look: true, Patient: true})
			return nil
		})
	}
	_ = group.Wait()
	for i := range checks {
		list = append(list, judgeServer(&checks[i], &results[i])...)
	}
	return list
}

// judgeServer judges the result of a server's check.
func judgeServer(c *plan.Check, r *health.Result) (list []Finding) {
	name := fmt.Sprintf("%s/%s %v", c.Backend, c.Server, c.Addr)
	if !r.OK() {
		return []Finding{{
			Subject: name, Grade: Fault, Found: "fails its check: " + r.String(), Means: "it gets no clients while that is so",
			Mend: fmt.Sprintf("look at its log and its listener (ss -ltn 'sport = :%d'), and at the filters between", c.Addr.Port()),
		}}
	}
	list = append(list, Finding{Subject: name, Found: greeted(r)})
	if held := r.Greeting - r.FirstLine; r.Greets && max(held, r.FirstLine) >= postscreenWait {
		list = append(list, Finding{
			Subject: name, Grade: Warning, Found: fmt.Sprintf("its greeting took %v: something there makes clients wait too, such as postscreen", round(r.Greeting)),
			Means: "every client waits twice", Mend: "postconf -e postscreen_greet_action=ignore postscreen_greet_wait=1s, or permit this site's clients in postscreen_access_list",
		})
	}
	for _, w := range health.Warnings(&c.Config, r, c.Clients) {
		list = append(list, concern(name, w))
	}
	if r.Keywords && !r.StartTLS {
		list = append(list, Finding{
			Subject: name, Grade: Note, Found: "it does not offer STARTTLS", Means: "senders that insist on TLS (MTA-STS, DANE) do not deliver",
			Mend: "postconf -e smtpd_tls_security_level=may, with a certificate",
		})
	}
	return list
}

// greeted describes a check that succeeded.
func greeted(r *health.Result) string {
	if !r.Greets {
		return "it accepts connections"
	}
	text := fmt.Sprintf("it greets within %v", round(r.Greeting))
	if r.StartTLS {
		text += " and offers STARTTLS"
	}
	return text
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(10 * time.Millisecond)
}
