package runtimeapi

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"hushgate/internal/admin"
)

// The columns of `show servers state`, version 1.
const stateHeader = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight " +
	"srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id " +
	"srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"

// HAProxy's numbers for a server's states.
const (
	opStopped, opRunning              = 0, 2
	forcedMaint, configMaint          = 1, 4
	forcedDrain                       = 8
	checkConfigured, checkOn          = 2, 4
	checkPaused                       = 8
	resultNone, resultBad, resultGood = 0, 2, 3
)

func showServersState(ctx context.Context, c *client, args []string) (string, error) {
	v, err := c.server.look(ctx)
	if err != nil {
		return "", err
	}
	if len(args) > 0 {
		p := v.proxy(args[0])
		if p == nil || !p.backend {
			return "", answerError("Can't find backend.\n")
		}
		v.proxies = []*proxy{p}
	}
	var b strings.Builder
	b.WriteString(stateHeader)
	for _, p := range v.proxies {
		for i := range p.servers {
			b.WriteString(stateLine(p, i, c.server.now(), int(v.status.UptimeMs/1000)))
		}
	}
	return b.String(), nil
}

func stateLine(p *proxy, i int, now time.Time, up int) string {
	s := &p.servers[i]
	addr, _ := netip.ParseAddrPort(s.Address)
	op, forced := opStopped, 0
	if s.Up && s.State != admin.ServerMaint {
		op = opRunning
	}
	switch s.State {
	case admin.ServerReady:
	case admin.ServerDrain:
		forced = forcedDrain
	case admin.ServerMaint:
		forced = forcedMaint
		if !s.ByHand {
			forced |= configMaint
		}
	}
	r := resultOf(s.Check)
	outcome, state := resultNone, 0
	switch {
	case !r.known():
	case r.code == "L4OK" || r.code == "L7OK":
		outcome = resultGood
	default:
		outcome = resultBad
	}
	if s.Check != nil {
		state |= checkConfigured
		if s.Check.Enabled || s.State == admin.ServerMaint {
			state |= checkOn
		}
	}
	if s.State == admin.ServerMaint && (s.Check != nil || !s.ByHand) {
		state |= checkPaused
	}
	return fmt.Sprintf("%d %s %d %s %s %d %d %d %d %d %d %d %d %d 0 0 0 - %d - 0 0 - - 0\n", p.id, p.name, i+1, s.Name, addr.Addr(), op,
		forced, s.Weight, s.ConfiguredWeight, since(s, now, up), r.number, outcome, health(s), state, addr.Port())
}
