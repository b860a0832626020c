// Package top is a live screen of the running gateway: phases, rates, verdicts, servers, talkers and connections, with keys that sort,
// filter, and act.
//
// A Source says how the gateway is at a moment, and which connections have ended. A record keeps what has come so far, within bounds,
// and makes a Picture of it: what one screen, or one line of JSON, shows. The model holds what the person at the terminal has chosen.
// Its Update and View do nothing but change and draw; what takes time are commands, whose answers come back as messages.
//
// Start with model.go.
package top
