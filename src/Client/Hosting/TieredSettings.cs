using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace KvCache.Client.Hosting;

/// <summary>Of which caches a registered <see cref="TieredKvCache"/> is made.</summary>
internal sealed class TieredSettings
{
    public string Near { get; set; } = "";

    public string Far { get; set; } = "";

    public TimeSpan? NearLife { get; set; }

    /// <summary>Whether a registered cache is, or is made of, another one.</summary>
    public static bool IsMadeOf(IServiceCollection services, string cache, string? another)
    {
        if (cache == another)
            return true;
        var settings = new TieredSettings();
        foreach (var service in services)
        {
            if (!service.IsKeyedService && service.ImplementationInstance is IConfigureNamedOptions<TieredSettings> parts)
                parts.Configure(cache, settings);
        }

        return settings.Near.Length > 0
            && (IsMadeOf(services, settings.Near, another) || IsMadeOf(services, settings.Far, another));
    }

    /// <summary>Finds the names of caches that nobody has registered.</summary>
    public sealed class Validator(IServiceProviderIsKeyedService? services = null) : IValidateOptions<TieredSettings>
    {
        public ValidateOptionsResult Validate(string? name, TieredSettings options)
        {
            string[] problems = [.. new[] { options.Near, options.Far }
                .Select(cache => CacheRegistration.FindMissing(services, "A TieredKvCache", typeof(IKvCache), cache)).OfType<string>()];
            return problems.Length == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(problems);
        }
    }
}
