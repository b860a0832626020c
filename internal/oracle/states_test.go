package oracle

// The client's SYN, without and with the usual options, and other segments.
const (
	plainSYN = "< S 0:0(0) win 65535 <mss 1460>"
	richSYN  = "< S 0:0(0) win 65535 <mss 1460,sackOK,TS val 1000 ecr 0,nop,wscale 7>"
	lastACK  = "< . 1:1(0) ack 1 win 65535"
	talk     = "< P. 1:9(8) ack 1 win 65535"
)

// said is SND.NXT after the reply and the FIN.
const said = 1 + int64(len(words)) + 1

// states are the states of a passive open, except CLOSE-WAIT: hushgate leaves it at once, and the kernel's application is
// made to do the same.
var states = []state{
	{name: "LISTEN", port: silentPort},
	{name: "SYN-RECEIVED", port: silentPort, setup: []string{plainSYN}, rcv: 1, snd: 1},
	{name: "SYN-RECEIVED with timestamps", port: silentPort, setup: []string{richSYN}, timestamps: true, rcv: 1, snd: 1},
	{name: "ESTABLISHED", port: silentPort, setup: []string{plainSYN, lastACK}, rcv: 1, snd: 1},
	{
		name: "ESTABLISHED with timestamps", port: silentPort, setup: []string{richSYN, lastACK}, timestamps: true,
		rcv: 1, snd: 1,
	},
	{
		name: "LAST-ACK", port: silentPort, setup: []string{plainSYN, lastACK, "< F. 1:1(0) ack 1 win 65535", "= finish"},
		rcv: 2, snd: 2,
	},
	{name: "FIN-WAIT-1", port: replyPort, setup: []string{plainSYN, lastACK, talk, "= say", talk}, rcv: 9, snd: said},
	{
		name: "FIN-WAIT-2", port: replyPort, setup: []string{plainSYN, lastACK, talk, "= say", talk, "< . 9:9(0) ack 28 win 65535"},
		rcv: 9, snd: said,
	},
	{
		name: "CLOSING", port: replyPort, setup: []string{plainSYN, lastACK, talk, "= say", talk, "< F. 9:9(0) ack 1 win 65535"},
		rcv: 10, snd: said,
	},
	{
		name: "TIME-WAIT", port: replyPort, setup: []string{plainSYN, lastACK, talk, "= say", talk, "< F. 9:9(0) ack 28 win 65535"},
		rcv: 10, snd: said,
	},
	{
		name: "TIME-WAIT with timestamps", port: replyPort,
		setup: []string{richSYN, lastACK, talk, "= say", talk, "< F. 9:9(0) ack 28 win 65535"}, timestamps: true, rcv: 10, snd: said,
	},
	{
		name: "CLOSED", port: silentPort, setup: []string{plainSYN, lastACK, "< R 1:1(0) win 0"},
		rcv: 1, snd: 1,
	},
}
