package runtimeapi

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/printable"
)

// absent lists what HAProxy has and hushgate has not. Tools expect some of it.
var absent = strings.Fields(`MaxSslConns CurrSslConns CumSslConns Maxpipes PipesUsed PipesFree ConnRateLimit SessRateLimit SslRate
	SslRateLimit MaxSslRate SslFrontendKeyRate SslFrontendMaxKeyRate SslFrontendSessionReuse_pct SslBackendKeyRate
	SslBackendMaxKeyRate SslCacheLookups SslCacheMisses CompressBpsIn CompressBpsOut CompressBpsRateLim Memmax_MB Memmax_bytes Tasks
	Run_queue ActivePeers ConnectedPeers BusyPolling FailedResolutions TotalSplicdedBytesOut DebugCommandsIssued CumRecvLogs`)

func showInfo(ctx context.Context, c *client, args []string) (string, error) {
	v, err := c.server.look(ctx)
	if err != nil {
		return "", err
	}
	all := v.info(c.server.Node)
	var b strings.Builder
	format := ""
	for _, word := range args {
		if word == "typed" || word == "json" {
			format = word
		}
	}
	switch format {
	case "json":
		return toJSON(items(infoFields, object{}, all))
	case "typed":
		writeTyped(&b, infoFields, object{}, all)
		return b.String(), nil
	}
	for _, f := range infoFields {
		if x, ok := all[f.name]; ok {
			fmt.Fprintf(&b, "%s: %s\n", f.name, printable.Text(fmt.Sprint(x)))
		}
	}
	return b.String(), nil
}

// info returns the values of `show info`.
func (v *view) info(node string) values {
	s := &v.status
	up := s.UptimeMs / 1000
	current, total, listeners, octets := 0, uint64(0), 0, uint64(0)
	for _, p := range v.proxies {
		if f := p.front; f != nil {
			current += f.Connections
			total += f.Ended + uint64(f.Connections)
			listeners += len(f.Services)
			octets += f.BytesToClient
		}
	}
	var lost uint64
	for i := range s.Logs {
		lost += s.Logs[i].Lost
	}
	stopping := 0
	if s.State == admin.StateStopping {
		stopping = 1
	}
	all := values{
		"Name": "hushgate", "Version": s.Version, "Release_date": released(), "Nbthread": s.Shards, "Nbproc": 1, "Process_num": 1, "Pid": s.PID,
		"Uptime": fmt.Sprintf("%dd %dh%02dm%02ds", up/86400, up/3600%24, up/60%60, up%60), "Uptime_sec": up,
		"Maxconn": s.MaxConn, "Hard_maxconn": s.MaxConn, "CurrConns": current, "CumConns": total, "node": node, "Stopping": stopping,
		"Jobs": current + listeners, "Unstoppable Jobs": 0, "Listeners": listeners, "DroppedLogs": lost, "TotalBytesOut": octets,
		"Build info": s.Version, "Start_time_sec": s.Started.Unix(), "Tainted": "0",
	}
	for _, name := range absent {
		all[name] = 0
	}
	return all
}

// released returns the date of the source that the program was built from.
func released() string {
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return at.Format("2006/01/02")
			}
		}
	}
	return "unknown"
}
