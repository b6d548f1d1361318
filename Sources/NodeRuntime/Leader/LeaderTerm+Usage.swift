import Autoscaling
import OrchestryModel
import RestFacade
import Scheduling

extension LeaderTerm {
    /// `GET /metrics/apps`: every app's figures of now in one answer, from memory.
    func usageOfApps() -> ControlResponse {
        ControlResponse(
            body: Presentation.usageOfApps(
                appGauges().compactMap { gauges in
                    guard let application = applications[gauges.app] else { return nil }
                    return Presentation.AppUsage(
                        app: gauges.app, status: application.status, wanted: gauges.wanted, ready: gauges.ready,
                        observed: gauges.observed.ageSeconds == nil
                            ? nil : presented(gauges.observed, total: reconciler.instances(of: gauges.app).count))
                }))
    }
}
