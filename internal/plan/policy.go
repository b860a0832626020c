package plan

import (
	"fmt"

	"hushgate/internal/config"
	"hushgate/internal/policy"
)

// policyTable returns how the clients of each frontend are treated. Its frontends have the numbers of dataplane.FrontendID.
func policyTable(cfg *config.Config) (*policy.Table, error) {
	c := &policy.Config{}
	for i := range cfg.Frontends {
		c.Frontends = append(c.Frontends, policyFrontend(&cfg.Frontends[i]))
	}
	t, err := policy.NewTable(c)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return t, nil
}

func policyFrontend(f *config.Frontend) policy.Frontend {
	return policy.Frontend{
		Name: f.Name, Delay: f.Delay, Talk: talkOf(f.Action),
		Reject: reply(f.RejectText), NoServer: reply(f.NoServerText),
	}
}

// reply is a line of the configuration as it is sent.
func reply(line string) policy.Text { return policy.Text(line + "\r\n") }

// talkOf is what early talk gets.
func talkOf(a config.Action) policy.Talk {
	switch a {
	case config.ActionReset:
	case config.ActionReply:
		return policy.TalkReply
	case config.ActionObserve:
		return policy.TalkObserve
	}
	return policy.TalkReset
}
