using System.Globalization;

namespace KvCache.Bench.Silos;

/// <summary>Reads a silo's metrics as Prometheus does.</summary>
internal static class SiloMetrics
{
    /// <summary>Grain activations that the silo has created since it started.</summary>
    public static double CountActivations(string http) => Sum(Read(http), "orleans_catalog_activation_created");

    /// <summary>Sum of all samples of a counter, whatever their labels; 0 when nothing was counted yet.</summary>
    internal static double Sum(string text, string counter) => text.Split('\n')
        .Where(line => line.StartsWith(counter, StringComparison.Ordinal))
        .Sum(line => double.Parse(
            line[(Math.Max(line.LastIndexOf('}'), line.IndexOf(' ')) + 1)..].Trim().Split(' ')[0], CultureInfo.InvariantCulture));

    private static string Read(string http)
    {
        using var client = new HttpClient { BaseAddress = new Uri(http) };
        using var response = client.Send(new HttpRequestMessage(HttpMethod.Get, "/metrics")).EnsureSuccessStatusCode();
        using var reader = new StreamReader(response.Content.ReadAsStream());
        return reader.ReadToEnd();
    }
}
