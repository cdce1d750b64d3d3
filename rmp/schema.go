package rmp

// Schema ids of the frozen registry (spec/01 "Registry").
const (
	CTObservation           uint16 = 1
	CTIntent                uint16 = 2
	CTToolCall              uint16 = 3
	CTToolResult            uint16 = 4
	CTArtifact              uint16 = 5
	CTCritique              uint16 = 6
	CTStateDelta            uint16 = 7
	CTRunEvent              uint16 = 8
	CTControl               uint16 = 9
	CTErrorReport           uint16 = 10
	CTAgentHello            uint16 = 100
	CTRuntimeHello          uint16 = 101
	CTInit                  uint16 = 102
	CTHostcallReq           uint16 = 110
	CTHostcallRes           uint16 = 111
	CTIntentContactsResolve uint16 = 200
	CTContactsResolved      uint16 = 201
	CTIntentContextGather   uint16 = 210
	CTContextBundle         uint16 = 211
	CTIntentDraftWrite      uint16 = 220
	CTDraftEmail            uint16 = 221
	CTIntentReviewDraft     uint16 = 230
	CTReviewCritique        uint16 = 231
	CTIntentSendMail        uint16 = 240
	CTMailResult            uint16 = 241
	CTCtrlReq               uint16 = 2001
	CTCtrlResp              uint16 = 2002
	CTMetricsSnapshot       uint16 = 3001
	CTOpeningEvent          uint16 = 3002
	CTTraceLine             uint16 = 3003
	CTAgentLogLine          uint16 = 3004
	CTActionRequest         uint16 = 3005
	CTActionDecision        uint16 = 3006
	CTBusDropNotice         uint16 = 3007
	CTExecutorAgentRequest  uint16 = 4000
	CTExecutorAgentResponse uint16 = 4001
)

// frozen maps a schema id to its type string. It is sparse on purpose: a
// lookup is one bounds check and one load, and the table is laid out by the
// linker, so that it costs nothing at start-up.
var frozen = [...]string{
	CTObservation:           "observation.generic.v1",
	CTIntent:                "intent.generic.v1",
	CTToolCall:              "intent.tool_call.v1",
	CTToolResult:            "toolresult.generic.v1",
	CTArtifact:              "artifact.generic.v1",
	CTCritique:              "critique.generic.v1",
	CTStateDelta:            "statedelta.generic.v1",
	CTRunEvent:              "observation.run.event.v1",
	CTControl:               "intent.control.v1",
	CTErrorReport:           "error.report.v1",
	CTAgentHello:            "observation.agent.hello.v1",
	CTRuntimeHello:          "observation.runtime.hello.v1",
	CTInit:                  "intent.init.v1",
	CTHostcallReq:           "intent.hostcall.request.v1",
	CTHostcallRes:           "toolresult.hostcall.response.v1",
	CTIntentContactsResolve: "intent.contacts.resolve.v1",
	CTContactsResolved:      "toolresult.contacts.resolved.v1",
	CTIntentContextGather:   "intent.context.gather.v1",
	CTContextBundle:         "observation.context.bundle.v1",
	CTIntentDraftWrite:      "intent.draft.write.v1",
	CTDraftEmail:            "artifact.draft.email.v1",
	CTIntentReviewDraft:     "intent.review.draft.v1",
	CTReviewCritique:        "critique.review.v1",
	CTIntentSendMail:        "intent.send.mail.v1",
	CTMailResult:            "toolresult.mail.result.v1",
	CTCtrlReq:               "intent.ctrl.request.v1",
	CTCtrlResp:              "toolresult.ctrl.response.v1",
	CTMetricsSnapshot:       "observation.metrics.snapshot.v1",
	CTOpeningEvent:          "observation.opening.event.v1",
	CTTraceLine:             "observation.trace.line.v1",
	CTAgentLogLine:          "observation.agent.log.v1",
	CTActionRequest:         "intent.action.request.v1",
	CTActionDecision:        "toolresult.action.decision.v1",
	CTBusDropNotice:         "error.bus.drop.notice.v1",
	CTExecutorAgentRequest:  "intent.executor.agent.request.v1",
	CTExecutorAgentResponse: "toolresult.executor.agent.response.v1",
}
