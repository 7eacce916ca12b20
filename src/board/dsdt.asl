/* SPDX-License-Identifier: MIT */
/*
 * What the PC of pc.c tells by ACPI's namespace (ACPI 6.4, chapters 5.3, 6 and 19): the PCI root
 * with its windows and interrupt routing, the ISA chips, and the sleep state S5. Addresses and
 * lines are those of pc.c.
 */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "NESTBX", "NESTBXPC", 1)
{
	/* ACPI_SLP_TYP_S5 of dev/acpi_pm.h */
	Name (\_S5, Package () { 5, 5, 0, 0 })

	/* 0: the guest routes by 8259, 1: by IO-APIC */
	Name (PICM, 0)
	Method (\_PIC, 1)
	{
		PICM = Arg0
	}

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_BBN, 0)

			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0, 0, 0, 1)
				IO (Decode16, 0xcf8, 0xcf8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0x0000, 0x0cf7, 0, 0x0cf8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0x0d00, 0xffff, 0, 0xf300)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					Cacheable, ReadWrite,
					0, 0x000a0000, 0x000bffff, 0, 0x00020000)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite,
					0, 0xc0000000, 0xfebfffff, 0, 0x3ec00000)
			})

			/*
			 * Pin p of slot s is soldered to wire (s + p) & 3. Wires lead to pins 16..19
			 * of the IO-APIC, and to IRQ 10, 11, 10, 11 of the 8259.
			 */
			Method (_PRT, 0)
			{
				Local0 = Package (128) {}
				Local1 = 0
				While (Local1 < 128)
				{
					Local2 = Package (4) { 0, 0, 0, 0 }
					Local2[0] = ((Local1 >> 2) << 16) | 0xffff
					Local2[1] = Local1 & 3
					Local3 = ((Local1 >> 2) + Local1) & 3
					If (PICM)
					{
						Local2[3] = Local3 + 16
					}
					Else
					{
						Local2[3] = (Local3 & 1) + 10
					}
					Local0[Local1] = Local2
					Local1++
				}
				Return (Local0)
			}

			Device (PIC)
			{
				Name (_HID, EisaId ("PNP0000"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x20, 0x20, 0, 2)
					IO (Decode16, 0xa0, 0xa0, 0, 2)
					IO (Decode16, 0x4d0, 0x4d0, 0, 2)
					IRQNoFlags () { 2 }
				})
			}

			Device (PIT)
			{
				Name (_HID, EisaId ("PNP0100"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x40, 0x40, 0, 4)
					IRQNoFlags () { 0 }
				})
			}

			Device (SPKR)
			{
				Name (_HID, EisaId ("PNP0800"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x61, 0x61, 0, 1)
				})
			}

			Device (RTC)
			{
				Name (_HID, EisaId ("PNP0B00"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x70, 0x70, 0, 2)
					IRQNoFlags () { 8 }
				})
			}

			Device (COM1)
			{
				Name (_HID, EisaId ("PNP0501"))
				Name (_UID, 1)
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x3f8, 0x3f8, 0, 8)
					IRQNoFlags () { 4 }
				})
			}

			Device (HPET)
			{
				Name (_HID, EisaId ("PNP0103"))
				Name (_CRS, ResourceTemplate ()
				{
					Memory32Fixed (ReadOnly, 0xfed00000, 0x400)
				})
			}

			/* The ports of ACPI's own chip, so that nobody else is put there */
			Device (MISC)
			{
				Name (_HID, EisaId ("PNP0C02"))
				Name (_CRS, ResourceTemplate ()
				{
					IO (Decode16, 0x600, 0x600, 0, 0x24)
					IO (Decode16, 0x92, 0x92, 0, 1)
				})
			}
		}
	}
}
