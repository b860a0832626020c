package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"hushgate/internal/instance"
)

// offendersCommand begins the commands about offenders: "offenders list", "offenders add 192.0.2.1/32 2h0m0s" (0s: as long as the
// configuration says) and "offenders remove 192.0.2.1/32".
const offendersCommand = "offenders "

// commandOffenders carries out a command about offenders.
func (g *gateway) commandOffenders(ctx context.Context, words []string) (a instance.Answer) {
	data, err := g.doOffenders(ctx, words)
	if err != nil {
		a.Error = err.Error()
		return a
	}
	if a.Data, err = json.Marshal(data); err != nil {
		a.Error = err.Error()
	}
	return a
}

// Changed is what a change of an offender was about.
type Changed struct {
	Client string `json:"client"`
	Found  bool   `json:"found"`
}

func (g *gateway) doOffenders(ctx context.Context, words []string) (any, error) {
	var who netip.Prefix
	var err error
	if len(words) > 1 {
		if who, err = netip.ParsePrefix(words[1]); err != nil {
			return nil, fmt.Errorf("expected a network: %w", err)
		}
	}
	switch what := strings.Join(words[:min(1, len(words))], ""); {
	case what == "list" && len(words) == 1:
		list, err := g.Offenders(ctx)
		if list == nil {
			list = []Offender{}
		}
		return list, err
	case what == "add" && len(words) == 3:
		left, err := time.ParseDuration(words[2])
		if err != nil {
			return nil, fmt.Errorf("expected a time: %w", err)
		}
		client, err := g.AddOffender(ctx, who, left)
		return Changed{client, true}, err
	case what == "remove" && len(words) == 2:
		client, found, err := g.RemoveOffender(ctx, who)
		return Changed{client, found}, err
	}
	return nil, fmt.Errorf("unknown command %q", offendersCommand+strings.Join(words, " "))
}
