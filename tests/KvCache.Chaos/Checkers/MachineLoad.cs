using System.Globalization;

namespace KvCache.Chaos.Checkers;

/// <summary>
/// How much slower everything is than on a machine that has time. Bounds of time are the product's; a machine on which dozens of
/// programs wait for a processor keeps none of them.
/// </summary>
internal static class MachineLoad
{
    // The harness and its silos themselves.
    private const double Usual = 4;

    /// <summary>What bounds of time are multiplied with: 1, unless more than four programs wait for each processor.</summary>
    public static double Scale
    {
        get
        {
            try
            {
                var load = double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], CultureInfo.InvariantCulture);
                return Math.Max(1, load / Environment.ProcessorCount / Usual);
            }
            catch (IOException)
            {
                return 1; // not Linux
            }
        }
    }
}
