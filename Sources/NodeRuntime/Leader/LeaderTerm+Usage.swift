import Autoscaling
import OrchestryModel
import RestFacade
import Scheduling

extension LeaderTerm {
    /// `GET /metrics/apps`: every app's figures of now in one answer, from memory.
    /// - Parameter grant: of the caller; nil: everything is shown.
    func usageOfApps(within grant: AccessGrant?) -> ControlResponse {
        ControlResponse(
            body: Presentation.usageOfApps(
                appGauges().compactMap { gauges in
                    guard grant?.covers(gauges.app) != false, let application = applications[gauges.app] else {
                        return nil
                    }
                    return Presentation.AppUsage(
                        app: gauges.app, status: application.status, wanted: gauges.wanted, ready: gauges.ready,
                        observed: gauges.observed.ageSeconds == nil
                            ? nil : presented(gauges.observed, total: reconciler.instances(of: gauges.app).count))
                }))
    }
}
