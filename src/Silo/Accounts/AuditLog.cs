using System.Net;
using KvCache.Silo.Hosting;
using KvCache.Silo.Http;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Accounts;

/// <summary>
/// One line for whatever an administrator may be asked about later: refused proofs, which are bounded, and every administrative act.
/// Category
/// <c>KvCache.Audit</c>. No secret, no hash, no byte of a block.
/// </summary>
internal sealed partial class AuditLog(ILoggerFactory loggers, WrongProofs proofs)
{
    private readonly ILogger _logger = loggers.CreateLogger("KvCache.Audit");

    /// <summary>Somebody could not prove to be a tenant.</summary>
    /// <param name="door">Where: data plane, redis, http.</param>
    /// <param name="address">From where.</param>
    /// <param name="tenant">Whom it said to be; empty when it did not.</param>
    /// <param name="longest">Longest wait: who waits for it must still be there.</param>
    /// <returns>How long the answer has to wait.</returns>
    public TimeSpan Refused(string door, IPAddress? address, string tenant, TimeSpan longest)
    {
        var delay = proofs.Failed(address, tenant);
        if (delay > longest)
            delay = longest;
        LogRefused(door, address?.ToString() ?? "unix", OneLine(HttpProblem.Shorten(tenant)), delay.TotalMilliseconds);
        return delay;
    }

    /// <summary>An administrator has changed something.</summary>
    public void Changed(string act, string tenant, string what, IPAddress? address) =>
        LogChanged(act, OneLine(tenant), what, address?.ToString() ?? "unix");

    // Whoever knocks chooses the name: it must not write a line of its own.
    private static string OneLine(string name) =>
        string.Create(name.Length, name, static (line, name) =>
        {
            for (var i = 0; i < line.Length; i++)
                line[i] = char.IsControl(name[i]) || name[i] is '\u2028' or '\u2029' ? '?' : name[i];
        });

    [LoggerMessage(
        Level = LogLevel.Warning,
        EventName = BoundedLog.Strangers + "Proof",
        Message = "Refused proof at {Door} from {Address} for tenant '{Tenant}', answered after {Delay:F0} ms")]
    private partial void LogRefused(string door, string address, string tenant, double delay);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Act} of tenant '{Tenant}' from {Address}: {What}")]
    private partial void LogChanged(string act, string tenant, string what, string address);
}
